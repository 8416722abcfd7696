package e2e_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

func TestMain(m *testing.M) { e2e.Main(m) }

// demoSite is the site that the demo reports to.
const demoSite = "demo.localhost"

// TestAVisitShowsOnTheDashboard is the main job: a browser visits the demo,
// opts out, and the same browser finds what it did before that, and nothing
// else, on the dashboard.
func TestAVisitShowsOnTheDashboard(t *testing.T) {
	server := e2e.Start(t, e2e.Options{Demo: true})
	tab := browser.Start(t, browser.Options{}).Tab(t)

	// The demo page, two navigations within it, a custom event.
	tab.Open(server.Demo + "/menu")
	tab.Click(`[data-tea="sencha"]`)
	tab.Until("location.pathname == '/menu/sencha'")
	tab.Click(`[data-tea="oolong"]`)
	tab.Until("location.pathname == '/menu/oolong'")
	tab.Click("#signup")
	tab.See("#welcome")

	// A no, and one more view, and a page of its own for good measure.
	tab.Click("#banner-no")
	tab.Until("halfmask.optedOut()")
	tab.Click(`[data-tea="assam"]`)
	tab.Until("location.pathname == '/menu/assam'")
	tab.Open(server.Demo + "/visit")
	tab.See("#counting button")
	demoErrors(t, tab)

	token := server.AddToken(t, demoSite)
	e2e.Eventually(t, "the four events are stored", func() bool {
		return server.Totals(t, token, demoSite, "events")[0] >= 4
	})
	want := []float64{1, 1, 3, 4}
	if diff := cmp.Diff(want, server.Totals(t, token, demoSite, "visitors", "visits", "pageviews", "events")); diff != "" {
		t.Errorf("visitors, visits, pageviews and events (-want +got):\n%s", diff)
	}

	// The first user, then the dashboard.
	dashboard := tab.Beside()
	dashboard.Open(server.SetupLink(t))
	portraits(dashboard, "setup")
	dashboard.Type("input[name=name]", "ada")
	dashboard.Type("input[name=password]", "half past four")
	dashboard.Type("input[name=again]", "half past four")
	dashboard.Click("form button.primary")
	dashboard.Until("location.pathname == '/" + demoSite + "' && document.querySelector('.figures:not(.waiting)')")

	figures := map[string]string{"Visitors": "1", "Visits": "1", "Pageviews": "3", "Views per visit": "3.0"}
	shown := browser.Eval[map[string]string](dashboard, `Object.fromEntries([...document.querySelectorAll('.figure')].map((f) =>
		[f.querySelector('.figure-name').innerText, f.querySelector('.figure-value').innerText]))`)
	for name, value := range figures {
		if shown[name] != value {
			t.Errorf("the dashboard shows %s %q, want %q; it shows %v", name, shown[name], value, shown)
		}
	}
	if diff := cmp.Diff([]string{"/menu", "/menu/oolong", "/menu/sencha"}, rows(dashboard, "pages")); diff != "" {
		t.Errorf("pages on the dashboard (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Signup"}, rows(dashboard, "events")); diff != "" {
		t.Errorf("events on the dashboard (-want +got):\n%s", diff)
	}
	dashboard.Until("!document.querySelector('.waiting')")
	portraits(dashboard, "dashboard")
	if errors := dashboard.Errors(); len(errors) > 0 {
		t.Errorf("the dashboard's pages reported %q", errors)
	}

	// Nothing came after the no, not even late.
	if got := server.Totals(t, token, demoSite, "events")[0]; got != 4 {
		t.Errorf("there are %v events in the end, want 4", got)
	}
	if got := server.Metrics(t).Value("halfmask_batch_stored_events_total"); got != 4 {
		t.Errorf("%v events were stored, want 4", got)
	}
}

// portraits takes the pictures that people look at before a release.
func portraits(tab *browser.Tab, name string) {
	for _, width := range []int64{1440, 390} {
		for _, dark := range []bool{false, true} {
			tab.Look(width, 900, dark)
			tab.Screenshot(fmt.Sprintf("%s-%d-dark=%v", name, width, dark))
		}
	}
	tab.Look(1440, 900, false)
}

// rows returns the names in a panel of the dashboard, sorted, once it has any.
func rows(dashboard *browser.Tab, panel string) []string {
	dashboard.Until("document.querySelector('.panel-" + panel + " .row-name')")
	return browser.Eval[[]string](dashboard, "[...document.querySelectorAll('.panel-"+panel+" .row-name')].map((n) => n.textContent).sort()")
}

func demoErrors(t *testing.T, tab *browser.Tab) {
	t.Helper()
	if errors := tab.Errors(); len(errors) > 0 {
		t.Errorf("the demo's pages reported %q", errors)
	}
}
