// Stand-in of libcublasLt: descriptors, and an algorithm for each product. All else is generated.
#include <cstdlib>
#include <cstring>

#define API extern "C" __attribute__((visibility("default")))

static int make(void** handle) {
  *handle = calloc(1, 4096);
  return 0;
}
static int destroy(void* handle) {
  free(handle);
  return 0;
}

API int cublasLtCreate(void** handle) { return make(handle); }
API int cublasLtDestroy(void* handle) { return destroy(handle); }
API int cublasLtMatmulDescCreate(void** handle, int, int) { return make(handle); }
API int cublasLtMatmulDescDestroy(void* handle) { return destroy(handle); }
API int cublasLtMatrixLayoutCreate(void** handle, int, unsigned long, unsigned long, long) { return make(handle); }
API int cublasLtMatrixLayoutDestroy(void* handle) { return destroy(handle); }
API int cublasLtMatmulPreferenceCreate(void** handle) { return make(handle); }
API int cublasLtMatmulPreferenceDestroy(void* handle) { return destroy(handle); }
API int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, char* results, int* found) {
  memset(results, 0, 96);  // one result of the type cublasLtMatmulHeuristicResult_t
  *found = 1;
  return 0;
}
