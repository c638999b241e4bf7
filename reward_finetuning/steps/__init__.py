"""The programs: one per component. Each reads artifacts, computes, and writes artifacts."""
