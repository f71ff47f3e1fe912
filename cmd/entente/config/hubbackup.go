package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/entente-sync/entente/hub/backup"
)

// backupFile says whom backups are sealed for, and when and where the hub makes
// them by itself.
type backupFile struct {
	// Recipients are age public keys. To have none must be said.
	Recipients []string      `yaml:"recipients"`
	Plain      bool          `yaml:"plain"`
	Every      time.Duration `yaml:"every"`
	Keep       struct {
		Count int           `yaml:"count"`
		Age   time.Duration `yaml:"age"`
	} `yaml:"keep"`
	// To is a directory, or s3://BUCKET/PREFIX.
	To string  `yaml:"to"`
	S3 *s3File `yaml:"s3"`
}

type s3File struct {
	Endpoint  string     `yaml:"endpoint"`
	Region    string     `yaml:"region,required"`
	PathStyle bool       `yaml:"path_style"`
	AccessKey secretFile `yaml:"access_key,required"`
	SecretKey secretFile `yaml:"secret_key,required"`
	CA        string     `yaml:"ca"`
}

// Limits of a schedule.
const (
	backupEveryMin = time.Minute
	backupEveryMax = 31 * 24 * time.Hour
	backupsMax     = 10_000
)

const schemeS3 = "s3://"

// load returns nil if the file has no schedule.
func (f *backupFile) load(r *reader) *backup.Plan {
	const at = "/backup"
	recipients, err := backup.ParseRecipients([]byte(strings.Join(f.Recipients, "\n")))
	if err != nil {
		r.doc.Fail("config.backup", at+"/recipients", "", "%v", err)
	}
	if f.Plain && len(f.Recipients) > 0 {
		r.doc.Fail("config.backup", at+"/plain", "remove one of the two", "backups are either plain or sealed for recipients")
	}
	if f.To == "" && f.Every == 0 {
		if f.Keep.Count != 0 || f.Keep.Age != 0 || f.S3 != nil {
			r.doc.Fail("config.backup", at, "add every and to", "says how backups are kept, but not that any are made")
		}
		return nil
	}
	switch {
	case f.To == "":
		r.doc.Fail("config.backup", at, "add to: DIRECTORY or to: s3://BUCKET/PREFIX", "has every, but not where to")
	case f.Every == 0:
		r.doc.Fail("config.backup", at, "add every: 24h", "has to, but not how often")
	case f.Every < backupEveryMin || f.Every > backupEveryMax:
		r.doc.Fail("config.range", at+"/every", "", "is %s, want %s to %s", f.Every, backupEveryMin, backupEveryMax)
	}
	if f.Keep.Count < 0 || f.Keep.Count > backupsMax {
		r.doc.Fail("config.range", at+"/keep/count", "", "is %d, want 0 to %d", f.Keep.Count, backupsMax)
	}
	if f.Keep.Age < 0 {
		r.doc.Fail("config.range", at+"/keep/age", "", "is %s, want 0 or more", f.Keep.Age)
	}
	if !f.Plain && len(f.Recipients) == 0 {
		r.doc.Fail("config.backup", at, "add recipients: [age1...], or plain: true", "whoever reads a backup reads the hub: for whom are they sealed?")
	}
	return &backup.Plan{
		Every: f.Every, Keep: backup.Keep{Count: f.Keep.Count, Age: f.Keep.Age}, Recipients: recipients, To: f.destination(r, at),
	}
}

func (f *backupFile) destination(r *reader, at string) backup.Destination {
	rest, bucket := strings.CutPrefix(f.To, schemeS3)
	switch {
	case !bucket && f.S3 != nil:
		r.doc.Fail("config.backup", at+"/to", "write s3://BUCKET/PREFIX", "is a directory, but /backup/s3 describes a bucket")
	case !bucket:
		return backup.NewDirectory(r.path(f.To))
	case f.S3 == nil:
		r.doc.Fail("config.backup", at, "add s3: {region: ..., access_key: {file: ...}, secret_key: {file: ...}}", "names a bucket, but not how it is reached")
	default:
		name, prefix, _ := strings.Cut(rest, "/")
		if name == "" {
			r.doc.Fail("config.backup", at+"/to", "write s3://BUCKET/PREFIX", "names no bucket")
		}
		return f.S3.load(r, at+"/s3", name, strings.Trim(prefix, "/"))
	}
	return nil
}

func (f *s3File) load(r *reader, at, bucket, prefix string) backup.Destination {
	cfg := backup.S3Config{
		Bucket: bucket, Prefix: prefix, Region: f.Region, Endpoint: f.Endpoint, PathStyle: f.PathStyle,
	}
	if f.Endpoint != "" {
		if u, err := url.Parse(f.Endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			r.doc.Fail("config.address", at+"/endpoint", "write https://HOST:PORT", "%q is no address", f.Endpoint)
		}
	}
	f.AccessKey.load(r, at+"/access_key") // for its findings
	f.SecretKey.load(r, at+"/secret_key")
	access, secret := r.path(f.AccessKey.File), r.path(f.SecretKey.File)
	cfg.Credentials = func() (string, string, error) {
		a, err1 := readSecret(access)
		s, err2 := readSecret(secret)
		return a, s, errors.Join(err1, err2)
	}
	if f.CA != "" {
		pem, ok := r.read(at+"/ca", f.CA)
		roots := x509.NewCertPool()
		if ok && !roots.AppendCertsFromPEM(pem) {
			r.doc.Fail("config.tls", at+"/ca", "", "%s holds no certificate", filepath.Base(f.CA))
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		cfg.Transport = transport
	}
	return backup.NewS3(cfg)
}

// HubRecipients reads whom the backups of a hub's file are sealed for, one a line,
// or that they are plain, and nothing that the file names.
func HubRecipients(path string) (keys []byte, plain bool, err error) {
	var in hubFile
	if _, err := open(path, KindHub, &in); err != nil {
		return nil, false, err
	}
	return []byte(strings.Join(in.Backup.Recipients, "\n")), in.Backup.Plain, nil
}
