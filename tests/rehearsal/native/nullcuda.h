// What the stand-in of the runtime offers to the other stand-ins and to Python.
//
// A stand-in of another library (of NCCL, say) queues its work with nullcuda_enqueue, so that it happens in the order of the stream,
// inside a capture becomes part of the graph, and under NULLCUDA_LAZY comes as late as CUDA allows.
#pragma once
extern "C" {

typedef void (*NullcudaListener)(const char* kind, const char* detail);
typedef void (*NullcudaWork)(long number);
typedef bool (*NullcudaAttempt)(void* data);

// A listener is called for each wait, race and illegal call, in the thread that makes it and before that call returns. No lock is held.
void nullcuda_listen(NullcudaListener listener);

// Queue `work(number)` on a stream (a cudaStream_t; null is the default stream of the current device).
void nullcuda_enqueue(void* stream, NullcudaWork work, long number);
// Queue work that other processes take part in: `attempt(data)` is called until it returns true, and the stream goes no further before.
// Such streams come on by themselves, as on a device; when lazy, no further than the last work of this kind.
void nullcuda_enqueue_attempts(void* stream, NullcudaAttempt attempt, void* data);
// Do what is queued on a stream, or on all.
void nullcuda_drain(void* stream);
void nullcuda_drain_all();
// How many pieces of work are queued.
long nullcuda_pending();

// Count a launch of a kernel of that name, which computes nothing.
void nullcuda_note(const char* kernel);
// Kernels, copies to and from pinned memory excluded, and fills since the last reset.
long nullcuda_launched();
// Calls of one kind, by its name in the report, since the last reset; "pinned bytes" and "registered bytes" are sums of now.
long nullcuda_count(const char* call);
// Races since the process began.
long nullcuda_races();
// Lines "COUNT\tNAME" of all calls, or of all kernels.
const char* nullcuda_report(int kernels);
void nullcuda_reset();

// Change a setting of the environment while the process runs: lazy, registers, pinned_kb, memory_mb, patience, quiet.
// Returns the value before, or -1.
long nullcuda_configure(const char* setting, long value);
// Replays of graphs do nothing by themselves: who recorded the operators plays them (Python's arithmetic).
void nullcuda_mute_graphs(int on);
}
