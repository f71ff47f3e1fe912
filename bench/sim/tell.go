package sim

import (
	"fmt"
	"strings"

	"github.com/entente-sync/entente/agent/core"
)

// tell puts an event or an effect of an agent in words.
func (w *world) tell(a *agent, x any) string {
	switch e := x.(type) {
	case core.Opened:
		return "Opened"
	case core.Observed:
		d := a.desk(e.System)
		return fmt.Sprintf("Observed %s %s %v, %d comments", d.at(e.Record.Key), e.Record.Revision, e.Record.Fields, len(e.Record.Comments))
	case core.Missing:
		return fmt.Sprintf("Missing %s %+v", a.desk(e.System).at(e.Key), e.Fault)
	case core.Listed:
		var b strings.Builder
		for _, r := range e.Refs {
			fmt.Fprintf(&b, " %s%s", a.desk(e.System).at(r.Key), r.Revision)
		}
		return "Listed" + b.String()
	case core.Read:
		return "Read " + a.desk(e.System).at(e.Key)
	case core.Write:
		return fmt.Sprintf("Write %d %s %s %v %s", e.Intent, e.Write.Kind, a.desk(e.System).at(e.Write.Key), e.Write.Fields, e.Write.Correlation)
	case core.Written:
		d := a.desk(e.System)
		text := fmt.Sprintf("Written %d %s fault %+v, receipt %+v", e.Intent, d.at(e.Receipt.Key), e.Fault, e.Receipt)
		if e.Record != nil {
			text += fmt.Sprintf(", read back %s %s %v", d.at(e.Record.Key), e.Record.Revision, e.Record.Fields)
		}
		return text
	case core.Fed:
		var b strings.Builder
		for _, r := range e.Entries {
			fmt.Fprintf(&b, " %s/%s=%s@%d.%d", short(r.Op.Key.Record), r.Op.Key.Field, r.Op.ID(), r.Birth.Epoch, r.Birth.Offset)
		}
		return fmt.Sprintf("Fed to %d of %d:%s", e.Cursor.Offset, e.Head, b.String())
	case core.Notice:
		return fmt.Sprintf("Notice %s %s %s %s %s", e.Kind, e.System, short(e.Record), e.Field, e.Code)
	}
	return fmt.Sprintf("%T %+v", x, x)
}
