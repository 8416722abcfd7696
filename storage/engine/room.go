package engine

import (
	"errors"
	"fmt"
)

// An engine of this version, when the disk is full at the moment in which it
// writes a small part, ignores that every write fails, publishes the part with
// empty files, and acknowledges the insert (seen in 26.7.2.1, with strace). What
// it acknowledged then is not there, and questions that touch the part fail until
// the engine is started again, which puts such parts aside. So:
//
//   - inserts are refused while less than the reserve is free (config.xml.tmpl),
//     long before a write fails, unless somebody fills it up within one insert;
//   - while less than half of it is free Sync fails, so nothing that was
//     acknowledged is settled;
//   - and once there is room again the engine is replaced first. The new run has
//     another epoch, so what the one before acknowledged is asked about again, and
//     what is missing is inserted again.
const (
	reserve  = 96 << 20
	tooShort = reserve / 2
)

// ErrShort is wrapped by Sync's error while the disk is, or was, so full that the
// engine's acknowledgements cannot be trusted.
var ErrShort = errors.New("the disk is full, or was until a moment ago")

// lookForRoom notes when there is too little room, and returns whether there was
// and is no more.
func (e *Engine) lookForRoom() (again bool) {
	free, err := freeBytes(e.options.Dir)
	if err != nil {
		return false
	}
	if free < tooShort {
		if !e.short.Swap(true) {
			e.log.Error("the engine's disk is full: nothing is stored until there is room; free some space",
				"free_mib", free>>20, "needed_mib", reserve>>20, "folder", e.options.Dir)
		}
		return false
	}
	return free >= reserve && e.short.Load()
}

// Sync returns when everything the engine has written is on disk: it syncs
// the whole file system that the data folder is on. It fails with ErrShort if
// what was acknowledged may not have been written.
func (e *Engine) Sync() error {
	e.lookForRoom()
	if err := syncFileSystem(e.options.Dir); err != nil {
		return fmt.Errorf("cannot sync the engine's data to disk: %w", err)
	}
	if e.lookForRoom(); e.short.Load() {
		return fmt.Errorf("cannot sync the engine's data to disk: %w", ErrShort)
	}
	return nil
}
