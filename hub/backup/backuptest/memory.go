package backuptest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"github.com/entente-sync/entente/hub/backup"
)

// Memory is the reference destination.
type Memory struct {
	mu    sync.Mutex
	files map[string][]byte
}

var _ backup.Destination = (*Memory)(nil)

// NewMemory returns an empty one.
func NewMemory() *Memory { return &Memory{files: map[string][]byte{}} }

// Put implements backup.Destination.
func (m *Memory) Put(ctx context.Context, name string, r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = content
	return nil
}

// Get implements backup.Destination.
func (m *Memory) Get(_ context.Context, name string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, ok := m.files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// List implements backup.Destination.
func (m *Memory) List(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.files)), nil
}

// Delete implements backup.Destination.
func (m *Memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	return nil
}
