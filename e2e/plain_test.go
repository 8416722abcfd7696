package e2e_test

import (
	"strings"
	"testing"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

// TestLoginOverPlainHTTP uses the dashboard as somebody in a private network
// does, by a name and without TLS. To such a host browsers tell nothing with
// Sec-Fetch-Site, and of a form only what the Referrer-Policy leaves in Origin.
func TestLoginOverPlainHTTP(t *testing.T) {
	server := e2e.Start(t, e2e.Options{})
	server.AddSite(t, "example.com")
	link := server.SetupLink(t)
	tab := browser.Start(t, browser.Options{}).Tab(t)
	tab.Open(strings.Replace(link, "127.0.0.1", "dashboard.test", 1))
	tab.Type("input[name=name]", "ada")
	tab.Type("input[name=password]", "half past four")
	tab.Type("input[name=again]", "half past four")
	tab.Click("form button.primary")
	tab.Until("document.querySelector('.figures:not(.waiting), .error')")
	if text := tab.Text("body"); !strings.Contains(text, "Visitors") {
		t.Fatalf("after the setup, the page says: %s", text)
	}
	tab.Open(strings.Replace(server.Dashboard, "127.0.0.1", "dashboard.test", 1) + "/account")
	tab.Click(`form[action="/logout"] button`)
	tab.Until("location.pathname == '/login'")
	tab.Type("input[name=name]", "ada")
	tab.Type("input[name=password]", "half past four")
	tab.Click("form button.primary")
	tab.Until("document.querySelector('.figures:not(.waiting), .error')")
	if text := tab.Text("body"); !strings.Contains(text, "Visitors") {
		t.Fatalf("after the login, the page says: %s", text)
	}
}
