// nccl.h asks for this file, of which it needs nothing.
