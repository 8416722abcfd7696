package enrich

import (
	"strings"

	"github.com/mileusna/useragent"

	"github.com/halfmask/halfmask/event"
)

// Why this library: of 70 user agents of current browsers (testdata) uap-go
// names 58 right and mileusna/useragent 39, but uap-go takes 1 to 3 ms for an
// agent it has not seen, so that a few hundred made-up agents a second would
// take the machine; mileusna takes 2 to 9 us. Neither tells televisions,
// consoles and tablets apart reliably, and mileusna takes any word of an agent
// that it does not know for a browser's name. So mileusna does the parsing,
// and what follows closes the set of names and corrects it.

// browserNames are the names that are taken from the library, by its own.
var browserNames = map[string]string{
	useragent.Chrome: "Chrome", useragent.HeadlessChrome: "Chrome", useragent.Firefox: "Firefox", useragent.Safari: "Safari",
	useragent.Edge: "Edge", useragent.Opera: "Opera", useragent.OperaTouch: "Opera", useragent.OperaMini: "Opera Mini",
	useragent.Vivaldi: "Vivaldi", useragent.InternetExplorer: "Internet Explorer", useragent.SamsungBrowser: "Samsung Internet",
	useragent.BlackBerry: "BlackBerry", "Android browser": "Android Browser", "Huawei Browser": "Huawei Browser", "Miui Browser": "MIUI Browser",
}

// browserTokens are the products whose token decides, the more particular one
// first; what follows the token is the version.
var browserTokens = []struct{ token, name string }{
	{"FBAV/", "Facebook"}, {"Instagram ", "Instagram"}, {"musical_ly", "TikTok"}, {"BytedanceWebview", "TikTok"}, {"MicroMessenger/", "WeChat"},
	{"Snapchat/", "Snapchat"}, {"Pinterest/", "Pinterest"}, {"LinkedInApp", "LinkedIn"}, {"Line/", "LINE"}, {"KAKAOTALK ", "KakaoTalk"}, {"GSA/", "Google app"},
	{"YaBrowser/", "Yandex Browser"}, {"DuckDuckGo/", "DuckDuckGo"}, {"Ddg/", "DuckDuckGo"}, {"Brave/", "Brave"}, {"UCBrowser/", "UC Browser"},
	{"QQBrowser/", "QQ Browser"}, {"Whale/", "Whale"}, {"Silk/", "Silk"}, {"HuaweiBrowser/", "Huawei Browser"}, {"MiuiBrowser/", "MIUI Browser"},
	{"VivoBrowser/", "vivo Browser"}, {"HeyTapBrowser/", "HeyTap Browser"}, {"OculusBrowser/", "Meta Quest Browser"}, {"coc_coc_browser/", "Cốc Cốc"},
	{"Puffin/", "Puffin"}, {"Maxthon/", "Maxthon"}, {"Electron/", "Electron"}, {"KAIOS/", "KaiOS"}, {"SeaMonkey/", "SeaMonkey"}, {"PaleMoon/", "Pale Moon"},
	{"Waterfox/", "Waterfox"}, {"Focus/", "Firefox Focus"}, {"Klar/", "Firefox Focus"}, {"Epiphany/", "GNOME Web"}, {"Falkon/", "Falkon"}, {"Konqueror/", "Konqueror"},
	{"Chromium/", "Chromium"}, {"OPX/", "Opera"}, {"IEMobile/", "Internet Explorer"}, {"NintendoBrowser/", ""}, {"PlayStation", ""},
}

// Words that tell the kind of device.
var (
	consoles    = []string{"PlayStation", "Xbox", "Nintendo"}
	televisions = []string{"SMART-TV", "SmartTV", "Smart-TV", "Smart TV", "HbbTV", "NetCast", "Web0S", "webOS.TV", "BRAVIA", "GoogleTV", "Google TV", "Android TV", "AndroidTV", "AppleTV", "Apple TV", "Roku", "CrKey", "VIDAA", "Large Screen", " TV Safari", "; AFT", "MiTV", "MITV", "PhilipsTV", "DTV"}
)

// windowsNames are what people call what Windows calls NT. Windows 11 says 10.0
// too.
var windowsNames = map[string]string{"10.0": "10/11", "6.3": "8.1", "6.2": "8", "6.1": "7", "6.0": "Vista", "5.2": "XP", "5.1": "XP", "5.0": "2000"}

// parseClient reads a browser's user agent. The result may borrow from it.
func parseClient(agent string) event.Client {
	parsed := useragent.Parse(agent)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(agent, w) {
				return true
			}
		}
		return false
	}
	c := event.Client{}
	c.OS, c.OSVersion = system(agent, &parsed, has)
	c.Browser, c.BrowserVersion = browser(agent, &parsed, has)
	c.Device = device(c.OS, &parsed, has)
	if c.OS == "iOS" && c.Browser == "Safari" && major(c.BrowserVersion) > major(c.OSVersion) && major(c.BrowserVersion) >= 26 {
		// From version 26 on Safari says iOS 18 for ever and has its system's number.
		c.OSVersion = c.BrowserVersion
	}
	return c
}

func browser(agent string, parsed *useragent.UserAgent, has func(...string) bool) (name, number string) {
	for _, b := range browserTokens {
		_, after, found := strings.Cut(agent, b.token)
		switch {
		case !found:
			continue
		case b.name == "":
			return "", ""
		case b.name == "TikTok":
			_, after, _ = strings.Cut(agent, "app_version/")
		}
		return b.name, version(after)
	}
	switch name, known := browserNames[parsed.Name]; {
	case has("Trident/") && has("rv:"):
		return "Internet Explorer", version(between(agent, "rv:"))
	case has("Presto/") && has("Version/") && !has("Opera Mini", "Opera Mobi"):
		return "Opera", version(between(agent, "Version/"))
	case has("; wv)"):
		return "Android WebView", version(between(agent, "Chrome/"))
	case has("Ubuntu Chromium"):
		return "Chromium", version(between(agent, "Chromium/"))
	case known:
		return name, version(parsed.Version)
	case has("Chrome/"):
		return "Chrome", version(between(agent, "Chrome/"))
	case has("Firefox/"):
		return "Firefox", version(between(agent, "Firefox/"))
	case parsed.OS == useragent.IOS && has("AppleWebKit/"):
		return "iOS WebView", ""
	}
	return "", ""
}

func system(agent string, parsed *useragent.UserAgent, has func(...string) bool) (name, number string) {
	switch {
	case has("PlayStation"):
		return "PlayStation", version(between(agent, "PlayStation "))
	case has("Xbox"):
		return "Xbox", ""
	case has("Nintendo"):
		return "Nintendo", ""
	case has("Tizen"):
		return "Tizen", version(between(agent, "Tizen "))
	case has("Web0S", "webOS.TV"):
		return "webOS", ""
	case has("KAIOS/"):
		return "KaiOS", version(between(agent, "KAIOS/"))
	case has("Windows Phone"):
		return "Windows Phone", version(strings.TrimPrefix(between(agent, "Windows Phone "), "OS "))
	case has("OpenHarmony"):
		return "HarmonyOS", version(between(agent, "OpenHarmony "))
	case has("iPod"):
		return "iOS", version(strings.ReplaceAll(between(agent, " OS "), "_", "."))
	}
	for _, bsd := range []string{"FreeBSD", "OpenBSD", "NetBSD"} {
		if has(bsd) {
			return bsd, ""
		}
	}
	switch parsed.OS {
	case useragent.Windows:
		return "Windows", windowsNames[version(parsed.OSVersion)]
	case useragent.MacOS:
		if v := version(parsed.OSVersion); v != "10.15" {
			return "macOS", v
		}
		return "macOS", "10.15+" // browsers have said so of every later one
	case useragent.Android:
		if has("Android 10; K)") {
			return "Android", "" // Chrome says so whichever it is
		}
		return "Android", version(parsed.OSVersion)
	case useragent.IOS:
		return "iOS", version(parsed.OSVersion)
	case useragent.ChromeOS, useragent.Linux:
		return parsed.OS, "" // what stands there is the processor
	case useragent.BlackBerry:
		return "BlackBerry", ""
	}
	return "", ""
}

func device(os string, parsed *useragent.UserAgent, has func(...string) bool) string {
	switch {
	case has(consoles...):
		return "Console"
	case has(televisions...):
		return "TV"
	case has("OculusBrowser/"):
		return ""
	case has("iPad", "Kindle") || os == "Android" && (has("Tablet") || has("AppleWebKit/") && !has("Mobile")):
		return "Tablet"
	}
	switch os {
	case "Android", "iOS", "KaiOS", "HarmonyOS", "Windows Phone", "BlackBerry":
		return "Mobile"
	case "Windows", "macOS", "Linux", "ChromeOS", "FreeBSD", "OpenBSD", "NetBSD":
		return "Desktop"
	}
	if parsed.Mobile {
		return "Mobile"
	}
	return ""
}

// between returns what follows a word, or "".
func between(agent, word string) string {
	_, after, _ := strings.Cut(agent, word)
	return after
}

// version cuts a version down to its first two numbers, "" if there is none or
// it is longer than any browser's.
func version(s string) string {
	dots, i := 0, 0
	for ; i < len(s); i++ {
		if s[i] == '.' && i > 0 {
			if dots++; dots == 2 {
				break
			}
		} else if s[i] < '0' || s[i] > '9' {
			break
		}
	}
	if i > 12 {
		return ""
	}
	return strings.TrimSuffix(s[:i], ".")
}

func major(version string) (n int) {
	for i := 0; i < len(version) && version[i] != '.'; i++ {
		if version[i] >= '0' && version[i] <= '9' {
			n = n*10 + int(version[i]-'0')
		}
	}
	return n
}
