// Stand-in of CUPTI, which refuses: torch.profiler goes on without the device's side, and says that there is none.
#define API extern "C" __attribute__((visibility("default")))

API int cuptiGetResultString(int, const char** text) {
  *text = "CUPTI has no stand-in: the rehearsal has no device whose work could be traced";
  return 0;
}
API int cuptiGetVersion(unsigned* version) {
  *version = 130000;
  return 0;
}
