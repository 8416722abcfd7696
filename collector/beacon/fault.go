package beacon

// field is a key of the error answer.
type field uint8

const (
	fieldRequest field = iota
	fieldURL
	fieldDomain
	fieldName
	fieldProps
	fields
)

var fieldNames = [fields]string{"request", "url", "domain", "event_name", "props"}

// fault is what can be wrong with a field: a closed set, so that an answer can
// never carry back what was sent.
type fault uint8

const (
	fine fault = iota
	truncated
	malformed
	trailing
	tooDeep
	badUTF8
	needsDepthOrTime
	required
	blank
	badURL
	badScheme
	longURL
	longName
	badDomain
	manyDomains
	longProps
	unknownSite
	faults
)

var faultTexts = [faults]string{
	truncated:        "Unable to parse request body as json: it ends too early",
	malformed:        "Unable to parse request body as json",
	trailing:         "Unable to parse request body as json: something follows the object",
	tooDeep:          "Unable to parse request body as json: it is nested too deeply",
	badUTF8:          "Unable to parse request body: it is not valid UTF-8",
	needsDepthOrTime: "engagement needs sd (scroll depth, 0 to 100) or e (engaged milliseconds)",
	required:         "is required",
	blank:            "can't be blank",
	badURL:           "must be a valid url",
	badScheme:        "scheme is not allowed",
	longURL:          "should be at most 2000 byte(s)",
	longName:         "should be at most 120 character(s)",
	badDomain:        "is invalid",
	manyDomains:      "should name at most 16 site(s)",
	longProps:        "keys should have at most 300 bytes and values 2000 bytes",
	unknownSite:      "is not a site of this Halfmask: check the domain in your snippet, or add it with `halfmask site add`",
}

// Faults is what is wrong with a beacon: at most one fault per field. The zero
// value says that it is fine.
type Faults [fields]fault

// UnknownSite is the answer to a beacon for a site that does not exist.
func UnknownSite() Faults { return Faults{fieldDomain: unknownSite} }

// OK reports whether nothing is wrong.
func (f Faults) OK() bool { return f == Faults{} }

// The classes of faults: metric labels, a closed set.
const (
	ClassRequest = "bad_json"      // the body as a whole cannot be read
	ClassMissing = "missing_field" // a required field is absent or blank
	ClassInvalid = "invalid_field" // a field is too long or not what it should be
)

// Class returns the class of the gravest fault, or "" if there is none.
func (f Faults) Class() string {
	if f.OK() {
		return ""
	}
	if f[fieldRequest] != fine {
		return ClassRequest
	}
	for _, x := range f {
		if x == required || x == blank {
			return ClassMissing
		}
	}
	return ClassInvalid
}

// AppendJSON appends the answer to dst: {"errors":{"url":["is required"]}}.
func (f Faults) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"errors":{`...)
	first := true
	for i, x := range f {
		if x == fine {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		dst = append(dst, fieldNames[i]...)
		dst = append(dst, `":["`...)
		dst = append(dst, faultTexts[x]...)
		dst = append(dst, `"]`...)
	}
	return append(dst, "}}"...)
}

// AppendText appends the same for a header: "url: is required; domain: ...".
func (f Faults) AppendText(dst []byte) []byte {
	first := true
	for i, x := range f {
		if x == fine {
			continue
		}
		if !first {
			dst = append(dst, "; "...)
		}
		first = false
		dst = append(dst, fieldNames[i]...)
		dst = append(dst, ": "...)
		dst = append(dst, faultTexts[x]...)
	}
	return dst
}
