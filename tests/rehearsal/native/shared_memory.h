// Memory that the ranks of one machine share: files in /dev/shm.
#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <string>

// A file of shared memory, mapped. It can grow; whoever reads it maps it anew.
class SharedMemory {
 public:
  SharedMemory(const std::string& name, size_t size) : file_(shm_open(name.c_str(), O_CREAT | O_RDWR, 0600)), name_(name) { grow(size); }
  ~SharedMemory() {
    if (data_) munmap(data_, size_);
    if (file_ >= 0) close(file_);
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // The memory, with at least `size` bytes; null where there is no room for them.
  char* grow(size_t size) {
    if (file_ < 0 || size <= size_) return data_;
    struct stat status;
    if (fstat(file_, &status) || (size_t(status.st_size) < size && posix_fallocate(file_, 0, off_t(size)))) return nullptr;
    if (data_) munmap(data_, size_);
    void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
    data_ = mapped == MAP_FAILED ? nullptr : (char*)mapped;
    size_ = data_ ? size : 0;
    return data_;
  }
  void unlink() { shm_unlink(name_.c_str()); }

 private:
  int file_;
  std::string name_;
  char* data_ = nullptr;
  size_t size_ = 0;
};
