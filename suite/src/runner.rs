//! One run: start, load, faults on and off, heal, wait until quiet, read, judge.
