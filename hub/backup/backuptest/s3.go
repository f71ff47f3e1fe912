package backuptest

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/entente-sync/entente/hub/backup"
)

// Keys of the fake's one account.
const (
	AccessKey = "AKTEST"
	SecretKey = "secret-of-the-test"
)

// Bucket is an S3-compatible service of one bucket, in memory, as small as the
// destination needs it: objects, multipart uploads, listings of three.
type Bucket struct {
	Name   string
	server *httptest.Server

	mu        sync.Mutex
	objects   map[string][]byte
	uploads   map[string]map[int][]byte
	made      int
	fault     func(w http.ResponseWriter, r *http.Request) (handled bool)
	truncates bool
}

// NewBucket serves a bucket until the test ends.
func NewBucket(tb testing.TB) *Bucket {
	b := &Bucket{Name: "backups", objects: map[string][]byte{}, uploads: map[string]map[int][]byte{}}
	b.server = httptest.NewServer(b)
	tb.Cleanup(b.server.Close)
	return b
}

// Config is how the bucket is reached.
func (b *Bucket) Config() backup.S3Config {
	return backup.S3Config{
		Bucket: b.Name, Prefix: "hub/one", Region: "eu-test-1", Endpoint: b.server.URL, PathStyle: true, PartBytes: PartBytes,
		Credentials: func() (string, string, error) { return AccessKey, SecretKey, nil },
	}
}

// Fail puts a fault in front of the service: one that has written an answer
// returns true. nil removes it.
func (b *Bucket) Fail(fault func(w http.ResponseWriter, r *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = fault
}

// Truncate makes the service lose the last byte of what it says it has stored.
func (b *Bucket) Truncate(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.truncates = on
}

// Object returns what is stored under a key.
func (b *Bucket) Object(key string) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[key]
	return slices.Clone(o), ok
}

// Put stores an object behind the destination's back.
func (b *Bucket) Put(key string, content []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[key] = content
}

// Uploads returns how many multipart uploads are neither complete nor aborted.
func (b *Bucket) Uploads() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.uploads)
}

// ServeHTTP implements http.Handler.
func (b *Bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	fault := b.fault
	b.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="+AccessKey+"/") {
		Refuse(w, http.StatusForbidden, "InvalidAccessKeyId")
		return
	}
	key, ok := strings.CutPrefix(r.URL.Path, "/"+b.Name)
	if !ok {
		Refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		Refuse(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serve(w, r, strings.TrimPrefix(key, "/"), body)
}

// serve answers one request. Caller holds mu.
func (b *Bucket) serve(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	query := r.URL.Query()
	upload := query.Get("uploadId")
	switch {
	case r.Method == http.MethodGet && key == "":
		b.list(w, query.Get("prefix"), query.Get("continuation-token"))
	case r.Method == http.MethodGet:
		if o, ok := b.objects[key]; ok {
			w.Header().Set("Content-Length", strconv.Itoa(len(o)))
			_, _ = w.Write(o) // a caller that is gone needs none
		} else {
			Refuse(w, http.StatusNotFound, "NoSuchKey")
		}
	case r.Method == http.MethodPost && query.Has("uploads"):
		b.made++
		upload = fmt.Sprintf("upload-%d", b.made)
		b.uploads[upload] = map[int][]byte{}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", upload)
	case upload != "" && b.uploads[upload] == nil:
		Refuse(w, http.StatusNotFound, "NoSuchUpload")
	case r.Method == http.MethodPut && upload != "":
		number, err := strconv.Atoi(query.Get("partNumber"))
		if err != nil {
			Refuse(w, http.StatusBadRequest, "InvalidArgument")
			return
		}
		b.uploads[upload][number] = body
		w.Header().Set("ETag", etag(body))
	case r.Method == http.MethodPost && upload != "":
		b.complete(w, key, upload, body)
	case r.Method == http.MethodDelete && upload != "":
		delete(b.uploads, upload)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut:
		b.store(key, body)
		w.Header().Set("ETag", etag(body))
	case r.Method == http.MethodDelete:
		delete(b.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		Refuse(w, http.StatusNotImplemented, "NotImplemented")
	}
}

func (b *Bucket) store(key string, content []byte) {
	if b.truncates && len(content) > 0 {
		content = content[:len(content)-1]
	}
	b.objects[key] = content
}

// complete joins the parts that the caller names, which must be there.
func (b *Bucket) complete(w http.ResponseWriter, key, upload string, body []byte) {
	var in struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(body, &in); err != nil || len(in.Part) == 0 {
		Refuse(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	var whole []byte
	for i, p := range in.Part {
		part, ok := b.uploads[upload][p.PartNumber]
		if !ok || p.PartNumber != i+1 || p.ETag != etag(part) {
			Refuse(w, http.StatusBadRequest, "InvalidPart")
			return
		}
		whole = append(whole, part...)
	}
	b.store(key, whole)
	delete(b.uploads, upload)
	fmt.Fprint(w, "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>")
}

// list answers three keys at a time.
func (b *Bucket) list(w http.ResponseWriter, prefix, after string) {
	const pageMax = 3
	var keys []string
	for k := range b.objects {
		if strings.HasPrefix(k, prefix) && k > after {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	more := len(keys) > pageMax
	if more {
		keys = keys[:pageMax]
	}
	fmt.Fprintf(w, "<ListBucketResult><IsTruncated>%t</IsTruncated>", more)
	for _, k := range keys {
		fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size></Contents>", k, len(b.objects[k]))
	}
	if more {
		fmt.Fprintf(w, "<NextContinuationToken>%s</NextContinuationToken>", keys[pageMax-1])
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

// Refuse answers as the service does.
func Refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>for the test</Message></Error>", code)
}

func etag(b []byte) string {
	sum := md5.Sum(b)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}
