package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

// TestBeaconsCannotWriteIntoTheDashboard sends beacons that anybody could send,
// with markup wherever there is room for text, and goes through the dashboard
// with its second line of defence, the Content Security Policy, switched off.
func TestBeaconsCannotWriteIntoTheDashboard(t *testing.T) {
	server := e2e.Start(t, e2e.Options{})
	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	attacks := []string{
		`"><img src=x onerror="window.pwned=1">`, `</script><script>window.pwned=1</script>`, `'"><svg/onload=window.pwned=1>`,
		"javascript:window.pwned=1//", "{{constructor.constructor('window.pwned=1')()}}", `<a href="javascript:window.pwned=1" id=planted>x</a>`,
	}
	for i, attack := range attacks {
		escaped := strings.NewReplacer("%", "%25", "<", "%3C", ">", "%3E", `"`, "%22", " ", "%20", "&", "%26", "#", "%23", "+", "%2B").Replace(attack)
		for _, name := range []string{"pageview", attack} {
			body, err := json.Marshal(map[string]any{
				"n": name, "d": "example.com",
				"u": "https://example.com/" + escaped + "?utm_source=" + escaped + "&utm_medium=" + escaped + "&utm_campaign=" + escaped + "&utm_content=" + escaped + "&utm_term=" + escaped,
				"r": "https://search.example/" + attack,
				"p": map[string]string{attack: attack},
			})
			if err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Collector+"/api/event", strings.NewReader(string(body)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("User-Agent", browser.UserAgent+" "+string(rune('a'+i))+attack) // six visitors
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusAccepted {
				t.Fatalf("%q was answered %d", attack, response.StatusCode)
			}
		}
	}
	e2e.Eventually(t, "the beacons are stored", func() bool {
		return server.Totals(t, token, "example.com", "events")[0] == float64(2*len(attacks))
	})

	tab := browser.Start(t, browser.Options{}).Tab(t)
	if _, err := chromedp.Call(tab.Context(), page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	tab.Open(server.SetupLink(t))
	tab.Type("input[name=name]", "ada")
	tab.Type("input[name=password]", "half past four")
	tab.Type("input[name=again]", "half past four")
	tab.Click("form button.primary")
	tab.Until("document.querySelector('.panel-pages .row-name')")
	check := func(where string) {
		t.Helper()
		tab.Until("!document.querySelector('.waiting')")
		if browser.Eval[bool](tab, "!!window.pwned || !!document.querySelector('#planted, img[src=x], [onload], [onerror]')") {
			t.Errorf("%s: a beacon wrote into the page", where)
		}
		if links := browser.Eval[[]string](tab, "[...document.querySelectorAll('[href]')].filter((a) => a.href && !/^https?:/.test(a.href)).map((a) => a.outerHTML)"); len(links) > 0 {
			t.Errorf("%s: links lead to %q", where, links)
		}
	}
	check("the first page")
	tabs := browser.Eval[int](tab, "document.querySelectorAll('.panel [role=tab]').length")
	if tabs < 5 {
		t.Fatalf("there are only %d tabs to go through", tabs)
	}
	shown := 0
	for i := range tabs {
		tab.Until(fmt.Sprintf("(document.querySelectorAll('.panel [role=tab]')[%d].click(), true)", i))
		check("a tab")
		shown += browser.Eval[int](tab, "[...document.querySelectorAll('.row-name')].filter((n) => n.textContent.includes('window.pwned')).length")
	}
	if shown < 10 {
		t.Errorf("the attacks were shown %d times: the test does not look where they are", shown)
	}
	for _, panel := range []string{"pages", "sources", "events"} {
		tab.Until("(document.querySelector('.panel-" + panel + " .row-name')?.closest('button, a, .row').click(), true)")
		check("a filter of " + panel)
	}
	if found := browser.Eval[string](tab, "location.search"); found == "" {
		t.Error("no filter was set")
	}
	tab.Open(browser.Eval[string](tab, "location.href")) // the filters come from the address now
	tab.Until("document.querySelector('.figures:not(.waiting)')")
	check("the page with filters, reloaded")
	if errors := tab.Errors(); len(errors) > 0 {
		t.Errorf("the pages reported %q", errors)
	}
}
