// Package browser gives tests a real, headless Chromium whose tabs look like
// those of an ordinary visitor: no HeadlessChrome in the user agent, no
// navigator.webdriver, and every *.test domain leads to 127.0.0.1, so that a
// page can live on demo.test instead of a local host that the tracker would
// ignore. It fails the test at the first thing that goes wrong and knows
// nothing of Halfmask.
package browser

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// UserAgent is what the browser calls itself.
const UserAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"

// patience is how long a browser may take for one step. It only bounds how
// late a broken test fails: the machine may be busy.
const patience = 45 * time.Second

// Options change how a Browser starts.
type Options struct {
	// Flags are further command line flags, by name without the dashes.
	Flags map[string]any
	// Preferences are settings of the profile, as Chromium's file of that name
	// holds them.
	Preferences map[string]any
	// Webdriver leaves navigator.webdriver true, as in an automated browser.
	Webdriver bool
}

// Browser is a running Chromium. Its methods may be called by several tests at
// once.
type Browser struct {
	ctx context.Context
}

// Start starts a Chromium with a new profile for the duration of t.
func Start(t testing.TB, o Options) *Browser {
	t.Helper()
	profile := t.TempDir()
	if o.Preferences != nil {
		writePreferences(t, profile, o.Preferences)
	}
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(find(t)),
		chromedp.UserDataDir(profile),
		chromedp.UserAgent(UserAgent),
		chromedp.Headless,
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.WindowSize(1440, 900),
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1"),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-default-apps", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-extensions", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("metrics-recording-only", true),
		chromedp.Flag("password-store", "basic"),
	}
	if !o.Webdriver {
		flags = append(flags, chromedp.Flag("disable-blink-features", "AutomationControlled"))
	}
	if os.Geteuid() == 0 {
		flags = append(flags, chromedp.NoSandbox) // Chromium refuses to sandbox for root
	}
	for name, value := range o.Flags {
		flags = append(flags, chromedp.Flag(name, value))
	}
	allocator, closeAllocator := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("Chromium did not stop cleanly: %v", err)
		}
		closeBrowser()
		closeAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("cannot start Chromium: %v", err)
	}
	return &Browser{ctx: ctx}
}

// Tab opens a blank tab with cookies and storage of its own for the duration
// of t.
func (b *Browser) Tab(t testing.TB) *Tab {
	t.Helper()
	return newTab(t, b.ctx, chromedp.WithNewBrowserContext(func(p *target.CreateBrowserContextParams) {
		dispose := true
		p.DisposeOnDetach = &dispose
	}))
}

func find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium found: run `apt-get install chromium`, or `make test`, which does it")
	return ""
}

func writePreferences(t testing.TB, profile string, preferences map[string]any) {
	t.Helper()
	text, err := json.Marshal(preferences)
	if err != nil {
		t.Fatalf("cannot encode the preferences: %v", err)
	}
	folder := filepath.Join(profile, "Default")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatalf("cannot make the profile: %v", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "Preferences"), text, 0o600); err != nil {
		t.Fatalf("cannot write the preferences: %v", err)
	}
}
