package enrich

import "github.com/halfmask/halfmask/event"

// The channels are those of Google Analytics 4's default channel group and,
// for the last, what has become common since. A visit gets the first whose
// rule fits, in the order of the function below.
const (
	direct          = "Direct"
	crossNetwork    = "Cross-network"
	paidShopping    = "Paid Shopping"
	paidSearch      = "Paid Search"
	paidSocial      = "Paid Social"
	paidVideo       = "Paid Video"
	display         = "Display"
	paidOther       = "Paid Other"
	organicShopping = "Organic Shopping"
	organicSocial   = "Organic Social"
	organicVideo    = "Organic Video"
	organicSearch   = "Organic Search"
	referral        = "Referral"
	email           = "Email"
	affiliates      = "Affiliates"
	audio           = "Audio"
	sms             = "SMS"
	push            = "Mobile Push Notifications"
	assistants      = "AI Assistants"
)

// channel tells by which channel a visit came, from its source, the kind of
// that source and the campaign's parameters.
func channel(source string, kind kind, c *event.Campaign, click event.ClickID) string {
	var buffers [3]folded
	medium := buffers[0].fold(c.Medium)
	campaign := buffers[1].fold(c.Campaign)
	name := buffers[2].fold(source)
	paid := paidMedium(medium) || paidClick(source, click)
	shop := kind == shopping || shopCampaign(campaign)
	switch {
	case contains(campaign, "cross-network"):
		return crossNetwork
	case paid && shop:
		return paidShopping
	case paid && kind == search:
		return paidSearch
	case paid && kind == social:
		return paidSocial
	case paid && kind == video:
		return paidVideo
	case is(medium, "display", "banner", "expandable", "interstitial", "cpm"):
		return display
	case paid:
		return paidOther
	case shop:
		return organicShopping
	case kind == social || is(medium, "social", "social-network", "social-media", "sm", "social network", "social media"):
		return organicSocial
	case kind == video || contains(medium, "video"):
		return organicVideo
	case kind == assistant:
		return assistants
	case kind == search || is(medium, "organic"):
		return organicSearch
	case kind == mail || is(name, "email", "e-mail", "e_mail", "e mail", "newsletter") || is(medium, "email", "e-mail", "e_mail", "e mail", "newsletter"):
		return email
	case is(medium, "affiliate", "affiliates"):
		return affiliates
	case is(medium, "audio"):
		return audio
	case is(name, "sms") || is(medium, "sms"):
		return sms
	case contains(medium, "mobile") || contains(medium, "notification") || ends(medium, "push") || is(name, "firebase"):
		return push
	case source == "" && is(medium, "", "none", "(none)") || is(name, "direct", "(direct)"):
		return direct
	}
	return referral
}

// paidMedium is GA4's ^(.*cp.*|ppc|retargeting|paid.*)$.
func paidMedium(medium []byte) bool {
	return contains(medium, "cp") || is(medium, "ppc", "retargeting") || starts(medium, "paid")
}

// paidClick tells whether a click identifier says that its own network was
// paid. Meta marks unpaid links too.
func paidClick(source string, click event.ClickID) bool {
	switch click {
	case event.GoogleClick:
		return source == "Google" || source == "YouTube"
	case event.MicrosoftClick:
		return source == "Bing"
	case event.XClick:
		return source == "X"
	}
	return false
}

// shopCampaign is GA4's ^(.*(([^a-df-z]|^)shop|shopping).*)$: not a workshop's,
// but an eshop's.
func shopCampaign(campaign []byte) bool {
	for i := 0; i+4 <= len(campaign); i++ {
		if string(campaign[i:i+4]) != "shop" {
			continue
		}
		if i == 0 || campaign[i-1] == 'e' || campaign[i-1] < 'a' || campaign[i-1] > 'z' || starts(campaign[i:], "shopping") {
			return true
		}
	}
	return false
}

// folded holds a lower-case copy of a parameter without allocating.
type folded [64]byte

// fold returns s in lower case, as much of it as fits: the words that are
// looked for are short.
func (f *folded) fold(s string) []byte {
	n := copy(f[:], s)
	for i := range f[:n] {
		if c := f[i]; c >= 'A' && c <= 'Z' {
			f[i] = c + 'a' - 'A'
		}
	}
	return f[:n]
}

func is(s []byte, words ...string) bool {
	for _, w := range words {
		if string(s) == w {
			return true
		}
	}
	return false
}

func starts(s []byte, word string) bool {
	return len(s) >= len(word) && string(s[:len(word)]) == word
}

func ends(s []byte, word string) bool {
	return len(s) >= len(word) && string(s[len(s)-len(word):]) == word
}

func contains(s []byte, word string) bool {
	for i := 0; i+len(word) <= len(s); i++ {
		if string(s[i:i+len(word)]) == word {
			return true
		}
	}
	return false
}
