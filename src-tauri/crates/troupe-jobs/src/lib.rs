//! Run folders and worker processes: start, watch, pause, stop, resume. Knows no job by name.
