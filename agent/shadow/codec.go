package shadow

import (
	"slices"

	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

func encode(r *Record) []byte {
	w := pack.NewWriter(version)
	w.Record(r.ID)
	w.String(string(r.Key))
	w.String(r.Revision)
	w.String(r.Mark)
	w.Int(r.Updated)
	w.Uint(r.Generation)
	w.Bool(r.Detached)
	w.Bool(r.Solo)
	names := make([]crdt.Field, 0, len(r.Fields))
	for f := range r.Fields {
		names = append(names, f)
	}
	slices.Sort(names)
	w.Uint(uint64(len(names)))
	for _, name := range names {
		f := r.Fields[name]
		w.String(string(name))
		w.Bool(f.Shown != nil)
		w.Values(f.Shown)
		w.OpID(f.Version.ID)
		w.Uint(uint64(f.Version.Stamp))
		w.Position(f.Version.Birth)
		w.Int(f.WroteMillis)
		w.String(f.EchoWritten)
		w.String(f.EchoShown)
	}
	return w.Bytes()
}

func decode(b []byte) (*Record, error) {
	r := pack.NewReader(b, version)
	out := &Record{
		ID:         r.Record(),
		Key:        connectors.Key(r.String()),
		Revision:   r.String(),
		Mark:       r.String(),
		Updated:    r.Int(),
		Generation: r.Uint(),
		Detached:   r.Bool(),
		Solo:       r.Bool(),
		Fields:     map[crdt.Field]Field{},
	}
	for range r.Count() {
		name := crdt.Field(r.String())
		var f Field
		shown := r.Bool()
		f.Shown = r.Values()
		if shown && f.Shown == nil {
			f.Shown = map[string]value.Value{}
		}
		f.Version.ID = r.OpID()
		f.Version.Stamp = crdt.Stamp(r.Uint())
		f.Version.Birth = r.Position()
		f.WroteMillis = r.Int()
		f.EchoWritten, f.EchoShown = r.String(), r.String()
		out.Fields[name] = f
	}
	return out, r.Close("shadow record")
}
