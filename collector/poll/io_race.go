//go:build race

package poll

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// The race detector takes what was sent before it was received for ordered only
// if these calls do both.

func recv(fd int, b []byte) (int, unix.Errno) { return result(syscall.Read(fd, b)) }

func send(fd int, b []byte) (int, unix.Errno) { return result(syscall.Write(fd, b)) }

func result(n int, err error) (int, unix.Errno) {
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		errno = unix.EIO
	}
	return n, errno
}
