package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pinSelf binds every thread of this process, and what it starts, to a core.
func pinSelf(core int) error { return pinProcess(os.Getpid(), core) }

// pinProcess binds every thread of a process to a core.
func pinProcess(pid, core int) error {
	var set unix.CPUSet
	set.Set(core)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			return fmt.Errorf("cannot bind to core %d: %w", core, err)
		}
	}
	return nil
}

// cpuSeconds returns the user and system time that a process used so far
// (fields 14 and 15 of proc_pid_stat(5), in ticks of 1/100 s).
func cpuSeconds(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	after := strings.Fields(string(raw)[strings.LastIndexByte(string(raw), ')')+1:])
	user, err1 := strconv.ParseFloat(after[11], 64)
	system, err2 := strconv.ParseFloat(after[12], 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("cannot read the CPU time of process %d", pid)
	}
	return (user + system) / 100, nil
}

// residentMiB returns a process's resident memory.
func residentMiB(pid int) float64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(raw))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

// printSyncTime tells how long this disk takes to write a page for good: what
// an answer that promises it cannot be faster than.
func printSyncTime(folder string) error {
	file, err := os.CreateTemp(folder, "sync-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	times := make([]time.Duration, 300)
	for i := range times {
		if _, err := file.WriteAt(make([]byte, 4096), int64(i%16)*4096); err != nil {
			return err
		}
		began := time.Now()
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return err
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	fmt.Printf("fdatasync of a page: p50 %v, p99 %v\n", times[len(times)/2].Round(time.Microsecond), times[len(times)*99/100].Round(time.Microsecond))
	return nil
}

func childrenOf(pid int) []int {
	var children []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // it ended meanwhile
		}
		after := strings.Fields(string(raw)[strings.LastIndexByte(string(raw), ')')+1:])
		if parent, err := strconv.Atoi(after[1]); err == nil && parent == pid {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			children = append(children, child)
		}
	}
	return children
}
