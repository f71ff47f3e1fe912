package backup

import (
	"bytes"
	"crypto/rand"
	"path/filepath"
	"strconv"
	"testing"

	"filippo.io/age"
)

// BenchmarkBackup: what an operator waits for, in registers a second. Save writes
// the file, syncs it and reads it back; verify checks it and loads it; restore
// makes a node's directory.
func BenchmarkBackup(b *testing.B) {
	const registers = 100_000
	m := machine(b, registers)
	id := identity(b)
	for name, to := range map[string][]age.Recipient{"plain": nil, "sealed": {id.Recipient()}} {
		dir := b.TempDir()
		saved := 0
		rate := func(b *testing.B) {
			b.ReportMetric(float64(registers)*float64(b.N)/b.Elapsed().Seconds(), "registers/s")
		}
		next := func() string { saved++; return filepath.Join(dir, strconv.Itoa(saved)) }
		b.Run("save/"+name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Create(next(), headerOf(m), to, bodyOf(m)); err != nil {
					b.Fatal(err)
				}
			}
			rate(b)
		})
		file := next()
		if _, err := Create(file, headerOf(m), to, bodyOf(m)); err != nil {
			b.Fatal(err)
		}
		b.Run("verify/"+name, func(b *testing.B) {
			for b.Loop() {
				if report, err := VerifyFile(file, []age.Identity{id}); err != nil || report.Registers != registers {
					b.Fatal(report.Registers, err)
				}
			}
			rate(b)
		})
		content := encode(b, m, to...)
		b.Run("restore/"+name, func(b *testing.B) {
			for b.Loop() {
				target := Target{Dir: next(), Hub: hubID, Node: "n1", Identities: []age.Identity{id}, Random: rand.Reader}
				if _, err := Restore(bytes.NewReader(content), target); err != nil {
					b.Fatal(err)
				}
			}
			rate(b)
		})
	}
}
