package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// S3Config names a bucket of an S3-compatible service.
type S3Config struct {
	Bucket, Prefix string
	Region         string
	Endpoint       string // "" means Amazon's of the region
	PathStyle      bool   // the bucket is in the path and not in the host's name
	// Credentials returns the access key and its secret. It is asked before each
	// request, so that they can be changed while the node runs.
	Credentials func() (access, secret string, err error)
	// Transport says how the service is reached and whom to trust; nil means the
	// system's ways.
	Transport *http.Transport
	// PartBytes is how much is sent, and held in memory, at a time; 0 means 16 MiB.
	PartBytes int
}

// Limits of one transfer.
const (
	partsMax      = 10_000 // of the protocol: 156 GiB in parts of 16 MiB
	partTimeMax   = 5 * time.Minute
	answerTimeMax = time.Minute
)

// S3 is a Destination in a bucket. What a crash leaves of an upload is not listed,
// but is kept and paid for until the bucket's own rule ends it: give the bucket
// one that aborts incomplete multipart uploads.
type S3 struct {
	cfg    S3Config
	client *s3.Client
}

var _ Destination = (*S3)(nil)

// NewS3 returns the destination; nothing is dialled yet.
func NewS3(cfg S3Config) *S3 {
	if cfg.PartBytes == 0 {
		cfg.PartBytes = 16 << 20
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	cfg.Transport.ResponseHeaderTimeout = answerTimeMax
	if cfg.Prefix != "" && !strings.HasSuffix(cfg.Prefix, "/") {
		cfg.Prefix += "/"
	}
	options := s3.Options{
		Region: cfg.Region, UsePathStyle: cfg.PathStyle, HTTPClient: &http.Client{Transport: cfg.Transport},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			access, secret, err := cfg.Credentials()
			return aws.Credentials{AccessKeyID: access, SecretAccessKey: secret}, err
		}),
		// Services that are only compatible know no trailing checksums. Signature and
		// reading back find what they would.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if cfg.Endpoint != "" {
		options.BaseEndpoint = aws.String(cfg.Endpoint)
	}
	return &S3{cfg: cfg, client: s3.New(options)}
}

func (d *S3) String() string { return "s3://" + d.cfg.Bucket + "/" + d.cfg.Prefix }

func (d *S3) key(name string) *string { return aws.String(d.cfg.Prefix + name) }

// Put implements Destination: in one request what fits one part, else in parts.
func (d *S3) Put(ctx context.Context, name string, r io.Reader) error {
	part := make([]byte, d.cfg.PartBytes)
	n, err := io.ReadFull(r, part)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		ctx, cancel := context.WithTimeout(ctx, partTimeMax)
		defer cancel()
		_, err = d.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &d.cfg.Bucket, Key: d.key(name), Body: bytes.NewReader(part[:n]), ContentLength: aws.Int64(int64(n)),
		})
	case err == nil:
		err = d.putParts(ctx, name, part, r)
	}
	return d.named("put", name, err)
}

// putParts uploads a full first part and the rest of r.
func (d *S3) putParts(ctx context.Context, name string, part []byte, r io.Reader) error {
	made, err := d.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &d.cfg.Bucket, Key: d.key(name)})
	if err != nil {
		return err
	}
	done, err := d.uploadParts(ctx, name, made.UploadId, part, r)
	if err == nil {
		_, err = d.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &d.cfg.Bucket, Key: d.key(name), UploadId: made.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		})
	}
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeMax)
	defer cancel()
	_, abort := d.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &d.cfg.Bucket, Key: d.key(name), UploadId: made.UploadId,
	})
	return errors.Join(err, abort)
}

func (d *S3) uploadParts(ctx context.Context, name string, upload *string, part []byte, r io.Reader) ([]types.CompletedPart, error) {
	var done []types.CompletedPart
	for n := len(part); n > 0; {
		number := int32(len(done) + 1)
		if number > partsMax {
			return nil, fmt.Errorf("more than %d parts of %d bytes", partsMax, len(part))
		}
		etag, err := d.uploadPart(ctx, name, upload, number, part[:n])
		if err != nil {
			return nil, err
		}
		done = append(done, types.CompletedPart{ETag: etag, PartNumber: aws.Int32(number)})
		n, err = io.ReadFull(r, part)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
	}
	return done, nil
}

func (d *S3) uploadPart(ctx context.Context, name string, upload *string, number int32, part []byte) (etag *string, err error) {
	ctx, cancel := context.WithTimeout(ctx, partTimeMax)
	defer cancel()
	out, err := d.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &d.cfg.Bucket, Key: d.key(name), UploadId: upload, PartNumber: aws.Int32(number),
		Body: bytes.NewReader(part), ContentLength: aws.Int64(int64(len(part))),
	})
	if err != nil {
		return nil, err
	}
	return out.ETag, nil
}

// Get implements Destination.
func (d *S3) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	out, err := d.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &d.cfg.Bucket, Key: d.key(name)})
	if missing := (*types.NoSuchKey)(nil); errors.As(err, &missing) {
		return nil, fmt.Errorf("get %s%s: %w", d, name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, d.named("get", name, err)
	}
	return out.Body, nil
}

// List implements Destination.
func (d *S3) List(ctx context.Context) ([]string, error) {
	var names []string
	pages := s3.NewListObjectsV2Paginator(d.client, &s3.ListObjectsV2Input{Bucket: &d.cfg.Bucket, Prefix: &d.cfg.Prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, d.named("list", "", err)
		}
		for _, o := range page.Contents {
			if name := strings.TrimPrefix(aws.ToString(o.Key), d.cfg.Prefix); !strings.Contains(name, "/") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// Delete implements Destination.
func (d *S3) Delete(ctx context.Context, name string) error {
	_, err := d.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &d.cfg.Bucket, Key: d.key(name)})
	return d.named("delete", name, err)
}

func (d *S3) named(verb, name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s %s%s: %w", verb, d, name, err)
	}
	return nil
}
