package config_test

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/hub/backup/backuptest"
)

// A bucket is reached with the credentials that stand in their files when they
// are needed, and a plan shows none of them.
func TestBackupBucket(t *testing.T) {
	example(t, "hub-good")
	bucket := backuptest.NewBucket(t)
	text, err := os.ReadFile("hub.yaml")
	if err != nil {
		t.Fatal(err)
	}
	section := fmt.Sprintf(`backup:
  every: 24h
  keep: {count: 7, age: 720h}
  to: s3://%s/hub/one/
  recipients: [age1nzrsf4tpqk5fau909sm2tdql465n5e3ekd0388g9w9zq7f5f94dsvuultl]
  s3: {region: eu-1, endpoint: "%s", path_style: true, access_key: {file: access}, secret_key: {file: secret}}
`, bucket.Name, bucket.Config().Endpoint)
	put := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("hub.yaml", string(text)+section)
	put("access", "AKOLD\n")
	h, err := config.LoadHub("hub.yaml", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	plan := h.Config.Backup
	if plan == nil || plan.Every.Hours() != 24 || plan.Keep.Count != 7 || plan.Keep.Age.Hours() != 720 || len(plan.Recipients) != 1 {
		t.Fatalf("plan %+v", plan)
	}
	if shown := fmt.Sprintf("%+v %#v %v", plan, plan, plan.To); strings.Contains(shown, canary) || !strings.Contains(shown, "s3://backups/hub/one/") {
		t.Errorf("the plan shows %s", shown)
	}
	if err := plan.To.Put(t.Context(), "a.backup", strings.NewReader("a")); err == nil {
		t.Error("a wrong key is taken")
	}
	put("access", backuptest.AccessKey+"\n")
	if err := plan.To.Put(t.Context(), "a.backup", strings.NewReader("a")); err != nil {
		t.Error(err)
	}
	if _, stored := bucket.Object("hub/one/a.backup"); !stored {
		t.Error("it is stored elsewhere")
	}
	keys, plain, err := config.HubRecipients("hub.yaml")
	if err != nil || plain || !strings.HasPrefix(string(keys), "age1nzr") {
		t.Errorf("recipients %q, %v, %v", keys, plain, err)
	}
}
