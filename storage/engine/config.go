package engine

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
)

// What is in the engine's folder.
const (
	configFile   = "config.xml"
	usersFile    = "users.xml"
	bootFile     = "boot.sql"
	markFile     = "clock.json"
	dataFolder   = "data"
	backupFolder = "backups"
)

var (
	//go:embed config.xml.tmpl
	configText string
	//go:embed users.xml.tmpl
	usersText string
	//go:embed boot.sql.tmpl
	bootText string

	functions = template.FuncMap{
		"xml": func(s string) (string, error) {
			var b strings.Builder
			err := xml.EscapeText(&b, []byte(s))
			return b.String(), err
		},
		"percent": func(percent, of int64) int64 { return of / 100 * percent },
	}
	templates = map[string]*template.Template{
		configFile: template.Must(template.New(configFile).Funcs(functions).Parse(configText)),
		usersFile:  template.Must(template.New(usersFile).Funcs(functions).Parse(usersText)),
		bootFile:   template.Must(template.New(bootFile).Funcs(functions).Parse(bootText)),
	}
)

// settings is what the templates show.
type settings struct {
	Data, Backups, Users, Retention    string
	Memory, Reserve                    int64
	Threads                            int
	Databases                          []string
	Readable                           []struct{ Table, Time string }
	WriterOwn                          string
	WriterElsewhere                    []string
	Writer, Reader                     string
	WriterPasswordHash, ReaderPassHash string
	PortFD, LifeFD                     int
}

// prepareDir makes the engine's folder and those in it, for the owner's eyes only.
func prepareDir(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, dataFolder), filepath.Join(dir, backupFolder)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("cannot make the engine's folder: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("cannot close the engine's folder to others: %w", err)
	}
	return nil
}

// writeConfig writes what the child reads at its start, anew each time: the files
// hold no setting that an earlier version or a hand left behind.
func (e *Engine) writeConfig() error {
	dir := e.options.Dir
	s := settings{
		Data:               filepath.Join(dir, dataFolder),
		Backups:            e.BackupDir(),
		Users:              filepath.Join(dir, usersFile),
		Retention:          e.options.Retention,
		Memory:             e.options.MemoryLimit,
		Reserve:            reserve,
		Threads:            max(2, runtime.NumCPU()/2),
		Databases:          e.options.databases(),
		Readable:           readable,
		WriterOwn:          writerOwn,
		WriterElsewhere:    writerElsewhere,
		Writer:             e.writer.User,
		Reader:             e.reader.User,
		WriterPasswordHash: hash(e.writer.Password),
		ReaderPassHash:     hash(e.reader.Password),
		PortFD:             portFD,
		LifeFD:             lifeFD,
	}
	for name, t := range templates {
		var b bytes.Buffer
		if err := t.Execute(&b, s); err != nil {
			return fmt.Errorf("cannot generate the engine's %s: %w", name, err)
		}
		if err := replaceFile(filepath.Join(dir, name), b.Bytes()); err != nil {
			return fmt.Errorf("cannot write the engine's %s: %w", name, err)
		}
		// Should the mark be lost, the times of these files stand in for it: they
		// must not tell a time that is doubted.
		if believed := e.guard.believed(); !believed.IsZero() {
			if err := os.Chtimes(filepath.Join(dir, name), believed, believed); err != nil {
				return fmt.Errorf("cannot set the time of the engine's %s: %w", name, err)
			}
		}
	}
	return nil
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// replaceFile writes a file of mode 0600 in one step, whatever the old one's mode.
func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(content); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
