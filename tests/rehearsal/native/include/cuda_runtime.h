// nccl.h asks for this file, whose original needs headers of the compiler nvcc, which are in no wheel.
#pragma once
#include <cuda_runtime_api.h>
