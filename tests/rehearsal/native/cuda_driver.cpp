// Stand-in of the driver, libcuda: what torch and triton ask for by value. All else is generated and returns 0.
#include <cstdlib>

#include "nullcuda.h"

#define API extern "C" __attribute__((visibility("default")))

// the runtime's stand-in is asked if it is there, as in every process that runs torch
extern "C" {
__attribute__((weak)) int cudaGetDeviceCount(int*);
__attribute__((weak)) int cudaGetDevice(int*);
__attribute__((weak)) int cudaSetDevice(int);
__attribute__((weak)) int cudaDeviceGetAttribute(int*, int, int);
}
#pragma weak nullcuda_note

static int context;

API int cuInit(unsigned) { return 0; }
API int cuDeviceGetCount(int* devices) {
  const char* text = getenv("NULLCUDA_DEVICES");
  *devices = text ? atoi(text) : 1;
  return cudaGetDeviceCount ? cudaGetDeviceCount(devices) : 0;
}
API int cuDriverGetVersion(int* version) {
  *version = 13000;
  return 0;
}
API int cuGetErrorString(int, const char** text) {
  *text = "error of the driver";
  return 0;
}
API int cuGetErrorName(int, const char** text) {
  *text = "CUDA_ERROR";
  return 0;
}
API int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* is_active) {
  *flags = 0;
  *is_active = 1;
  return 0;
}
API int cuDevicePrimaryCtxRetain(void** handle, int) {
  *handle = &context;
  return 0;
}
API int cuCtxGetCurrent(void** handle) {
  *handle = &context;
  return 0;
}
API int cuCtxGetDevice(int* device) {
  *device = 0;
  return cudaGetDevice ? cudaGetDevice(device) : 0;
}
API int cuDeviceGet(int* device, int number) {
  *device = number;
  return 0;
}
API int cuDeviceGetAttribute(int* value, int attribute, int device) {
  switch (attribute) {
    case 8:                               // shared memory of a block
    case 81:                              // ... of a multiprocessor
    case 97: *value = 232448; return 0;   // ... of a block that asks for more
    case 12:                              // registers of a block
    case 82: *value = 65536; return 0;    // ... of a multiprocessor
    case 39: *value = 2048; return 0;     // threads of a multiprocessor
    case 1: *value = 1024; return 0;      // threads of a block
  }
  *value = 1024;
  return cudaDeviceGetAttribute ? cudaDeviceGetAttribute(value, attribute, device) : 0;
}
API int cuModuleLoadData(void** handle, const void*) {
  *handle = malloc(8);
  return 0;
}
API int cuModuleGetFunction(void** handle, void*, const char*) {
  *handle = malloc(8);
  return 0;
}
API int cuFuncGetAttribute(int* value, int attribute, void*) {
  *value = attribute == 4 ? 32 : attribute == 0 ? 1024 : 0;  // registers of a thread; threads of a block
  return 0;
}
API int cuLaunchKernelEx(void*, void*, void**, void**) {
  if (nullcuda_note) nullcuda_note("cuLaunchKernelEx");
  return 0;
}
API int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**) {
  if (nullcuda_note) nullcuda_note("cuLaunchKernel");
  return 0;
}
