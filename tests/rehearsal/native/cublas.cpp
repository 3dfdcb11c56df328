// Stand-in of libcublas: what torch asks for by value. All else is generated: it returns 0, and what multiplies is counted.
#include <cstdlib>

#define API extern "C" __attribute__((visibility("default")))

API int cublasCreate_v2(void** handle) {
  *handle = calloc(1, 4096);
  return 0;
}
API int cublasDestroy_v2(void* handle) {
  free(handle);
  return 0;
}
API int cublasGetMathMode(void*, int* mode) {
  *mode = 0;
  return 0;
}
API int cublasGetPointerMode_v2(void*, int* mode) {
  *mode = 0;
  return 0;
}
