package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// Tab is one tab. Its methods fail the test that opened it and are for one
// goroutine at a time.
type Tab struct {
	t   testing.TB
	ctx context.Context

	mu     sync.Mutex
	errors []string
}

func newTab(t testing.TB, parent context.Context, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	t.Cleanup(cancel)
	tab := &Tab{t: t, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("cannot open a tab: %v", err)
	}
	if err := chromedp.Listen(ctx, tab.notice); err != nil {
		t.Fatalf("cannot listen to the tab: %v", err)
	}
	return tab
}

// Beside opens another tab that shares this one's cookies and storage.
func (tab *Tab) Beside() *Tab {
	tab.t.Helper()
	return newTab(tab.t, tab.ctx)
}

// Unwatched opens url in a page that shares this tab's cookies and storage but
// is out of DevTools' sight, because Chromium never prerenders for a page that
// is watched. In the background it is hidden until show is called.
func (tab *Tab) Unwatched(url string, background bool) (show func()) {
	tab.t.Helper()
	got, err := chromedp.CallBrowser(tab.ctx, target.CreateTarget, target.CreateTargetParams{
		URL:              url,
		Background:       &background,
		BrowserContextID: chromedp.FromContext(tab.ctx).BrowserContextID,
	})
	if err != nil {
		tab.t.Fatalf("cannot open %s out of sight: %v", url, err)
	}
	return func() {
		tab.t.Helper()
		_, err := chromedp.CallBrowser(tab.ctx, target.ActivateTarget, target.ActivateTargetParams(got))
		if err != nil {
			tab.t.Fatalf("cannot show %s: %v", url, err)
		}
	}
}

// Close closes the tab as its visitor would: its pages learn of it.
func (tab *Tab) Close() {
	tab.t.Helper()
	if _, err := chromedp.Call(tab.ctx, page.Close, cdp.Empty{}); err != nil {
		tab.t.Fatalf("cannot close the tab: %v", err)
	}
}

// Context is for what chromedp can do and Tab cannot.
func (tab *Tab) Context() context.Context { return tab.ctx }

// Do runs steps of chromedp.
func (tab *Tab) Do(what string, steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tab.t.Fatalf("cannot %s: %v; errors on the page: %q", what, err, tab.Errors())
	}
}

// Open goes to a page and waits until it has loaded.
func (tab *Tab) Open(url string) {
	tab.t.Helper()
	tab.Do("open "+url, chromedp.Navigate(url))
}

// Click clicks the first visible element that the CSS selector finds.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.Do("click "+selector, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Type types text into the first visible element that the selector finds.
func (tab *Tab) Type(selector, text string) {
	tab.t.Helper()
	tab.Do("type into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible))
}

// See waits until the selector finds a visible element.
func (tab *Tab) See(selector string) {
	tab.t.Helper()
	tab.Do("see "+selector, chromedp.WaitVisible(chromedp.CSS(selector)))
}

// Text returns the visible text of the first element that the selector finds.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	return run(tab, "read "+selector, chromedp.Text(chromedp.CSS(selector)))
}

// Until waits until the JavaScript expression is true, across navigations.
func (tab *Tab) Until(expression string) {
	tab.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		// A question that a page took along when it went away is never answered,
		// and one that came too early is an error: ask again either way.
		ctx, cancel := context.WithTimeout(tab.ctx, time.Second)
		yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		cancel()
		if err == nil && yes {
			return
		}
		if time.Now().After(deadline) {
			tab.t.Fatalf("waited in vain for %s: %v; errors on the page: %q", expression, err, tab.Errors())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// BeforeEach runs a script in every page opened from now on, before the
// page's own scripts.
func (tab *Tab) BeforeEach(script string) {
	tab.t.Helper()
	_, err := chromedp.Call(tab.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
	if err != nil {
		tab.t.Fatalf("cannot add a script to new pages: %v", err)
	}
}

// Cookies returns the cookies that pages of these URLs would send.
func (tab *Tab) Cookies(urls ...string) []*network.Cookie {
	tab.t.Helper()
	got, err := chromedp.Call(tab.ctx, network.GetCookies, network.GetCookiesParams{URLs: urls})
	if err != nil {
		tab.t.Fatalf("cannot read the cookies: %v", err)
	}
	return got.Cookies
}

// Look sets the size of the window in CSS pixels and the colour scheme, and
// stills all motion.
func (tab *Tab) Look(width, height int64, dark bool) {
	tab.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	tab.Do("change the viewport", chromedp.EmulateViewport(width, height))
	_, err := chromedp.Call(tab.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	if err != nil {
		tab.t.Fatalf("cannot change the colour scheme: %v", err)
	}
}

// Screenshot writes the whole page to HALFMASK_SCREENSHOTS/NAME.png, for
// people to look at. Without that variable it does nothing.
func (tab *Tab) Screenshot(name string) {
	tab.t.Helper()
	folder := os.Getenv("HALFMASK_SCREENSHOTS")
	if folder == "" {
		return
	}
	png := run(tab, "take a screenshot", chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o600); err != nil {
		tab.t.Fatalf("cannot write the screenshot: %v", err)
	}
}

// Errors returns the uncaught exceptions, console errors and violations that
// the tab's pages reported so far.
func (tab *Tab) Errors() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.errors)
}

func (tab *Tab) notice(event any) {
	var message string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		message = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			message += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type != "error" {
			return
		}
		for _, a := range e.Args {
			message += fmt.Sprintf("%s%s ", a.Value, a.Description)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level != "error" {
			return
		}
		message = e.Entry.Text + " " + e.Entry.URL
	default:
		return
	}
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.errors = append(tab.errors, message)
}

// Eval evaluates a JavaScript expression in the tab's page and waits for it if
// it is a promise.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	return run(tab, "evaluate "+expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

func run[T any](tab *Tab, what string, action chromedp.Action[T]) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		tab.t.Fatalf("cannot %s: %v; errors on the page: %q", what, err, tab.Errors())
	}
	return value
}
