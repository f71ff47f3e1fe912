package state

// SetPageFull makes pages end at that many bytes, until restore is called.
func SetPageFull(bytes int) (restore func()) {
	was := pageFull
	pageFull = bytes
	return func() { pageFull = was }
}
