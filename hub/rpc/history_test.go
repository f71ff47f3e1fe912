package rpc

import (
	"errors"
	"fmt"
	"testing"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

// Refusals have codes; what is no refusal is not told to agents.
func TestPastErrors(t *testing.T) {
	for err, want := range map[error]wire.Reason{
		state.ErrPactUnknown:                        wire.ReasonPactUnknown,
		state.ErrHistoryNone:                        wire.ReasonHistoryNone,
		fmt.Errorf("%w: 7", state.ErrHistoryBefore): wire.ReasonHistoryBefore,
	} {
		if got := pastError("tickets", err); wire.ReasonOf(got) != want {
			t.Errorf("%v: %v", err, got)
		}
	}
	var coded *wire.Error
	if err := pastError("tickets", state.ErrDamaged); errors.As(err, &coded) || !errors.Is(err, state.ErrDamaged) {
		t.Errorf("damage: %v", err)
	}
}
