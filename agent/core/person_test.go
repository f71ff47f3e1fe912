package core_test

import (
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
)

// What an automation made of a person's edit is that person's edit, even when our
// own write had woken the automation.
func TestAutomationOnAPersonsEdit(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil, memory.Fault{
		Kind: memory.Automation, Field: "description", Form: memory.FormMarkup, Duration: 3 * time.Second,
	})
	acme.edit(a, "description", "burns")
	for range 1000 {
		if globex.sys.Counts().Kinds[connectors.WriteUpdate] > 0 {
			break
		}
		acme.list()
		acme.work()
		acme.publish()
		globex.feed()
		globex.work()
	}
	for globex.work() {
		continue
	}
	globex.edit(b, "description", "**out**")
	w.now += 5000
	w.rest()
	globex.shows(b, "description", "__out__")
	acme.shows(a, "description", "__out__")
}
