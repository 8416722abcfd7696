package storage

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// ParseDSN turns clickhouse://user:password@host:9000/database?secure=true
// into Options. It names one host: the tables are that server's own, not yet
// replicated, so batches spread over several would be told apart by none of
// them. Parameters:
//
//	secure=true          TLS; the port defaults to 9440 instead of 9000
//	skip_verify=true     TLS without checking the server's certificate
//	reader=USER          a second user that may only read events
//	reader_password=...  its password
//
// Anything else is refused. Errors never print the DSN, which holds passwords.
func ParseDSN(dsn string) (Options, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		// url's error quotes its input.
		return Options{}, errDSN("it is not a URL (user and password must be URL-encoded)")
	}
	if u.Scheme != "clickhouse" {
		return Options{}, errDSN("it must start with clickhouse://; the native protocol is the only one spoken")
	}
	var o Options
	q := u.Query()
	secure, err := boolean(q, "secure")
	if err != nil {
		return Options{}, err
	}
	skip, err := boolean(q, "skip_verify")
	if err != nil {
		return Options{}, err
	}
	switch {
	case secure:
		o.TLS = &tls.Config{InsecureSkipVerify: skip, MinVersion: tls.VersionTLS12} //nolint:gosec // asked for by name
	case skip:
		return Options{}, errDSN("skip_verify needs secure=true")
	}
	host, err := address(u.Host, secure)
	if err != nil {
		return Options{}, err
	}
	o.Addr = []string{host}
	o.Database = strings.Trim(u.Path, "/")
	if u.User != nil {
		o.Writer.User = u.User.Username()
		o.Writer.Password, _ = u.User.Password()
	}
	o.Reader = Credentials{User: q.Get("reader"), Password: q.Get("reader_password")}
	if o.Reader.User == "" && o.Reader.Password != "" {
		return Options{}, errDSN("reader_password needs reader")
	}
	for name := range q {
		switch name {
		case "secure", "skip_verify", "reader", "reader_password":
		default:
			return Options{}, errDSN("it has a parameter that is not known; there are secure, skip_verify, reader and reader_password")
		}
	}
	return o, nil
}

func errDSN(why string) error {
	return errors.New("cannot use the ClickHouse DSN: " + why + "; want clickhouse://user:password@host:9000/database?secure=true")
}

func boolean(q url.Values, name string) (bool, error) {
	if !q.Has(name) {
		return false, nil
	}
	if q.Get(name) == "" {
		return true, nil
	}
	v, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, errDSN(name + " must be true or false")
	}
	return v, nil
}

// address gives the host a port.
func address(host string, secure bool) (string, error) {
	switch {
	case host == "":
		return "", errDSN("it names no host")
	case strings.Contains(host, ","):
		return "", errDSN("it names several hosts; name one server, whose own tables are used")
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host, nil
	}
	port := "9000"
	if secure {
		port = "9440"
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port), nil
}
