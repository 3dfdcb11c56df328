// Devices and errors.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "state.h"

namespace nullcuda {

thread_local int current_device = 0;
static thread_local cudaError_t last_error = cudaSuccess;

static int visible_devices() {
  int all = (int)settings().devices;
  const char* text = getenv("CUDA_VISIBLE_DEVICES");
  if (!text) return all;
  int visible = 0;
  while (*text) {  // as the driver does: up to the first that there is not
    char* end;
    long number = strtol(text, &end, 10);
    if (end == text || number < 0 || number >= all) break;
    visible++;
    text = *end == ',' ? end + 1 : end;
  }
  return visible;
}

int device_count() {
  static int visible = visible_devices();  // the driver looks once
  return visible;
}

cudaError_t fail(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return error;
  if (call) tell_illegal(call);
  last_error = error;
  return error;
}

static bool exists(int device) { return device >= 0 && device < device_count(); }

}  // namespace nullcuda

using namespace nullcuda;

API cudaError_t cudaGetDeviceCount(int* devices) {
  *devices = device_count();
  return *devices ? cudaSuccess : fail(cudaErrorNoDevice);
}
API cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
API cudaError_t cudaSetDevice(int device) {
  if (!exists(device)) return fail(cudaErrorInvalidDevice, "cudaSetDevice");
  current_device = device;
  return cudaSuccess;
}
API cudaError_t cudaGetDeviceProperties(cudaDeviceProp* all, int device) {
  if (!exists(device)) return fail(cudaErrorInvalidDevice, "cudaGetDeviceProperties");
  Settings& given = settings();
  memset(all, 0, sizeof *all);
  snprintf(all->name, sizeof all->name, "null device, sm_%ld", given.capability);
  all->major = (int)given.capability / 10;
  all->minor = (int)given.capability % 10;
  all->totalGlobalMem = (size_t)given.memory_mb << 20;
  all->multiProcessorCount = 132;  // the rest is an H100's
  all->warpSize = 32;
  all->maxThreadsPerBlock = 1024;
  all->maxThreadsPerMultiProcessor = 2048;
  all->maxBlocksPerMultiProcessor = 32;
  all->sharedMemPerBlock = 49152;
  all->sharedMemPerBlockOptin = 232448;
  all->sharedMemPerMultiprocessor = 233472;
  all->regsPerBlock = all->regsPerMultiprocessor = 65536;
  all->l2CacheSize = 50 << 20;
  all->memoryBusWidth = 5120;
  for (int i = 0; i < 3; i++) {
    all->maxThreadsDim[i] = i < 2 ? 1024 : 64;
    all->maxGridSize[i] = i ? 65535 : 2147483647;
  }
  all->unifiedAddressing = all->canMapHostMemory = all->concurrentKernels = all->cooperativeLaunch = all->hostRegisterSupported = 1;
  all->asyncEngineCount = 3;
  all->pciBusID = device;
  return cudaSuccess;
}
API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (!exists(device)) return fail(cudaErrorInvalidDevice, "cudaDeviceGetAttribute");
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = (int)settings().capability / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = (int)settings().capability % 10; break;
    case cudaDevAttrMultiProcessorCount: *value = 132; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
    case cudaDevAttrWarpSize: *value = 32; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 232448; break;
    case cudaDevAttrMaxGridDimX: *value = 2147483647; break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ: *value = 65535; break;
    case cudaDevAttrIntegrated:
    case cudaDevAttrPageableMemoryAccess:
    case cudaDevAttrPageableMemoryAccessUsesHostPageTables: *value = 0; break;
    default: *value = 1;
  }
  return cudaSuccess;
}
API cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int device) {
  snprintf(text, size, "0000:%02d:00.0", device);
  return cudaSuccess;
}
API cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = 0;
  return cudaSuccess;
}
API cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaSuccess; }
API cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
API cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
API cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
API cudaError_t cudaGetLastError() {
  auto error = last_error;
  last_error = cudaSuccess;
  return error;
}
API cudaError_t cudaPeekAtLastError() { return last_error; }

// The builder takes the texts from NVIDIA's library: "NUMBER, name, text" of each error.
static const struct {
  int error;
  const char *name, *text;
} texts[] = {
#include "error_texts.inc"
};
API const char* cudaGetErrorName(cudaError_t error) {
  for (auto& each : texts)
    if (each.error == error) return each.name;
  return "unrecognized error code";
}
API const char* cudaGetErrorString(cudaError_t error) {
  for (auto& each : texts)
    if (each.error == error) return each.text;
  return "unrecognized error code";
}
API cudaError_t cudaGetDriverEntryPointByVersion(
    const char* name, void** function, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* result) {
  static void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  *function = driver ? dlsym(driver, name) : nullptr;
  if (result) *result = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
