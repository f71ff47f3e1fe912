package backup

import (
	"bytes"
	"testing"

	"filippo.io/age"
)

func TestKeys(t *testing.T) {
	id := identity(t)
	quantum, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	plain, pq := id.Recipient().String(), quantum.Recipient().String()
	for text, want := range map[string]int{
		plain + "\n": 1, "# ours\n" + plain + "\n\n" + identity(t).Recipient().String(): 2, pq: 1,
		"# nobody\n": 0, "age1": 0, id.String(): 0, plain + "\n" + pq: 0,
	} {
		got, err := ParseRecipients([]byte(text))
		if len(got) != want || (err == nil) != (want > 0) {
			t.Errorf("recipients %q: %d, %v", text, len(got), err)
		}
	}
	if got, err := ParseRecipients(nil); got != nil || err != nil {
		t.Errorf("no recipients: %v, %v", got, err)
	}
	if got, err := ParseIdentities(nil); got != nil || err != nil {
		t.Errorf("no identities: %v, %v", got, err)
	}
	ids, err := ParseIdentities([]byte("# made for a test\n" + id.String() + "\n" + quantum.String()))
	if err != nil || len(ids) != 2 {
		t.Fatalf("%d identities, %v", len(ids), err)
	}
	recipients, err := ParseRecipients([]byte(pq))
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, 2)
	if _, err := Check(bytes.NewReader(encode(t, m, recipients...)), ids); err != nil {
		t.Error(err)
	}
	if _, err := ParseIdentities([]byte(plain)); err == nil {
		t.Error("a recipient is taken for an identity")
	}
}
