// Package disk is a file system in memory that forgets what was not synced. It is
// mounted through FUSE, so that unchanged processes work on it, memory maps
// included, and it does at "power off" what the rules of POSIX allow and kind
// disks rarely do:
//
//   - bytes of a file that were written and not synced are gone, or some of their
//     sectors are there and others are not;
//   - a name in a directory that was not synced is gone, or is back;
//   - a failed sync drops what it should have made durable, and the next one
//     reports success.
//
// It can also be slow, full, or lose one bit.
//
// What it does not show: faults of the page cache itself (the kernel's own lies in
// front of it), and the SIGBUS of a sparse map on a full disk: the kernel reserves
// nothing for a FUSE file, so the shortage appears at the sync.
package disk
