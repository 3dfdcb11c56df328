// The numbers of a collective: their sizes and names, and sums over ranks in the order of the ranks.
#pragma once
#include <nccl.h>
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

// A bfloat16: the upper half of a float32, rounded to nearest even.
struct Bfloat16 {
  uint16_t bits;
  Bfloat16() : bits(0) {}
  Bfloat16(double value) {
    float narrow = float(value);
    uint32_t whole;
    memcpy(&whole, &narrow, 4);
    bits = narrow != narrow ? 0x7FC0 : uint16_t((whole + 0x7FFF + ((whole >> 16) & 1)) >> 16);
  }
  operator double() const {
    uint32_t whole = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &whole, 4);
    return value;
  }
};

inline size_t size_of(ncclDataType_t type) {
  static const size_t sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return sizes[type];
}
inline const char* name_of(ncclDataType_t type) {
  static const char* names[] = {"int8", "uint8", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64", "bfloat16", "float8_e4m3", "float8_e5m2"};
  return type < ncclNumTypes ? names[type] : "unknown";
}

// What a reduction does: an operator of NCCL's own, or a sum of numbers that are multiplied first.
struct Reduction {
  ncclRedOp_t op = ncclSum;
  double factor = 1;
};

template <class T, class Wide>
void reduce(const std::vector<const char*>& sources, size_t offset, size_t count, Reduction reduction, char* target) {
  for (size_t i = 0; i < count; i++) {
    Wide total = Wide(((const T*)(sources[0] + offset))[i]) * Wide(reduction.factor);
    for (size_t rank = 1; rank < sources.size(); rank++) {
      Wide next = Wide(((const T*)(sources[rank] + offset))[i]) * Wide(reduction.factor);
      switch (reduction.op) {
        case ncclProd: total *= next; break;
        case ncclMax: total = total != total || total > next ? total : next; break;
        case ncclMin: total = total != total || total < next ? total : next; break;
        default: total += next;
      }
    }
    if (reduction.op == ncclAvg) total /= Wide(sources.size());
    ((T*)target)[i] = T(total);
  }
}

// Reduce `count` numbers that begin `offset` bytes into each source. Return whether the kind of number is known here.
inline bool reduce(ncclDataType_t type, const std::vector<const char*>& sources, size_t offset, size_t count, Reduction reduction, char* target) {
  switch (type) {
    case ncclInt8: reduce<int8_t, int64_t>(sources, offset, count, reduction, target); return true;
    case ncclUint8: reduce<uint8_t, uint64_t>(sources, offset, count, reduction, target); return true;
    case ncclInt32: reduce<int32_t, int64_t>(sources, offset, count, reduction, target); return true;
    case ncclUint32: reduce<uint32_t, uint64_t>(sources, offset, count, reduction, target); return true;
    case ncclInt64: reduce<int64_t, int64_t>(sources, offset, count, reduction, target); return true;
    case ncclUint64: reduce<uint64_t, uint64_t>(sources, offset, count, reduction, target); return true;
    case ncclFloat16: reduce<_Float16, double>(sources, offset, count, reduction, target); return true;
    case ncclFloat32: reduce<float, double>(sources, offset, count, reduction, target); return true;
    case ncclFloat64: reduce<double, double>(sources, offset, count, reduction, target); return true;
    case ncclBfloat16: reduce<Bfloat16, double>(sources, offset, count, reduction, target); return true;
    default: return false;
  }
}
