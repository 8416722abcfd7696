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
// into Options. With the name of a cluster of one shard it may name several
// hosts, its replicas: clickhouse://user:password@one:9000,two:9000/database.
// Parameters:
//
//	secure=true          TLS; the port defaults to 9440 instead of 9000
//	skip_verify=true     TLS without checking the server's certificate
//	reader=USER          a second user that may only read events
//	reader_password=...  its password
//	quorum=N             replicas that must have a batch; default: most of them
//
// Anything else is refused. Errors never print the DSN, which holds passwords.
func ParseDSN(dsn, cluster string) (Options, error) {
	one, hosts := cutHosts(dsn)
	u, err := url.Parse(one)
	if err != nil {
		// url's error quotes its input.
		return Options{}, errDSN("it is not a URL (user and password must be URL-encoded)")
	}
	if u.Scheme != "clickhouse" {
		return Options{}, errDSN("it must start with clickhouse://; the native protocol is the only one spoken")
	}
	o := Options{Cluster: cluster, Database: strings.Trim(u.Path, "/")}
	q := u.Query()
	if err := o.secure(q); err != nil {
		return Options{}, err
	}
	for _, host := range strings.Split(hosts, ",") {
		address, err := address(host, o.TLS != nil)
		if err != nil {
			return Options{}, err
		}
		o.Addr = append(o.Addr, address)
	}
	if len(o.Addr) > 1 && cluster == "" {
		return Options{}, errDSN("it names several hosts; name one server, whose own tables are used, or the cluster that they are with --clickhouse-cluster")
	}
	if u.User != nil {
		o.Writer.User = u.User.Username()
		o.Writer.Password, _ = u.User.Password()
	}
	o.Reader = Credentials{User: q.Get("reader"), Password: q.Get("reader_password")}
	if o.Reader.User == "" && o.Reader.Password != "" {
		return Options{}, errDSN("reader_password needs reader")
	}
	if q.Has("quorum") {
		n, err := strconv.Atoi(q.Get("quorum"))
		if err != nil || n < 1 || n > len(o.Addr) || cluster == "" {
			return Options{}, errDSN("quorum must be a number of replicas, and needs --clickhouse-cluster")
		}
		o.Quorum = n
	}
	for name := range q {
		switch name {
		case "secure", "skip_verify", "reader", "reader_password", "quorum":
		default:
			return Options{}, errDSN("it has a parameter that is not known; there are secure, skip_verify, reader, reader_password and quorum")
		}
	}
	return o, nil
}

// cutHosts returns the DSN with a host that stands for all, for net/url refuses
// several, and the hosts.
func cutHosts(dsn string) (one, hosts string) {
	scheme, rest, found := strings.Cut(dsn, "://")
	if !found {
		return dsn, ""
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	start := strings.LastIndex(rest[:end], "@") + 1
	return scheme + "://" + rest[:start] + "hosts" + rest[end:], rest[start:end]
}

func (o *Options) secure(q url.Values) error {
	secure, err := boolean(q, "secure")
	if err != nil {
		return err
	}
	skip, err := boolean(q, "skip_verify")
	switch {
	case err != nil:
		return err
	case secure:
		o.TLS = &tls.Config{InsecureSkipVerify: skip, MinVersion: tls.VersionTLS12} //nolint:gosec // asked for by name
	case skip:
		return errDSN("skip_verify needs secure=true")
	}
	return nil
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

// address gives a host a port.
func address(host string, secure bool) (string, error) {
	if host == "" {
		return "", errDSN("it names no host")
	}
	if strings.ContainsAny(host, " \t\r\n\\%") {
		return "", errDSN("a host's name is malformed")
	}
	if _, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", errDSN("a host's port is no number (user and password must be URL-encoded)")
		}
		return host, nil
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "", errDSN("a host's name is malformed")
	}
	port := "9000"
	if secure {
		port = "9440"
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port), nil
}
