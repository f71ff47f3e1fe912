package store_test

import (
	"testing"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory() })
}
