//go:build !linux

package replica

import (
	"errors"
	"os"
)

// spaceOf knows no volume's size here: a node's disk is not watched, and a full
// one ends the process.
func spaceOf(string) (free, total int64, err error) { return 0, 0, nil }

func allocated(string) int64 { return 0 }

func allocate(*os.File, int64) error { return errors.ErrUnsupported }
