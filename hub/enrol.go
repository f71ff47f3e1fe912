package hub

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/adminhttp"
	"github.com/entente-sync/entente/proto/identity"
)

// enrolsMax bounds the strangers that are answered at the same time.
const enrolsMax = 4

// issue makes a join token valid.
func (h *Hub) issue(ctx context.Context, t admin.TokenRequest) error {
	c := &command.Token{Act: command.TokenIssue, Node: t.Node, Replaces: t.Replaces, ExpiresMillis: t.ExpiresMillis}
	if err := errors.Join(fromHex(c.ID[:], t.ID), fromHex(c.Secret[:], t.Secret)); err != nil {
		return err
	}
	if t.Replaces != "" && !h.isMember(t.Replaces) {
		return notMember(t.Replaces)
	}
	if err := h.agree(ctx, c); err != nil {
		return err
	}
	h.cfg.Log.Info("join token issued", "node", t.Node, "token", t.ID, "replaces", t.Replaces)
	return nil
}

// spend uses a token up, as leader, for the node that enrols somebody.
func (h *Hub) spend(ctx context.Context, s admin.Spend) error {
	c := &command.Token{Act: command.TokenSpend}
	if err := errors.Join(fromHex(c.ID[:], s.ID), fromHex(c.Key[:], s.Key)); err != nil {
		return err
	}
	return h.agree(ctx, c)
}

func fromHex(to []byte, s string) error {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(to) {
		return fmt.Errorf("%w: want %d bytes in hexadecimal digits", adminhttp.ErrInvalid, len(to))
	}
	copy(to, raw)
	return nil
}

// enrol gives a stranger with a token a node's certificate, for the key whose
// possession the request proves. Every refusal of a token reads alike: a stranger
// learns nothing about the hub's tokens.
func (h *Hub) enrol(ctx context.Context, e admin.Enrol) (admin.Enrolled, error) {
	select {
	case h.enrolling <- struct{}{}:
		defer func() { <-h.enrolling }()
	default:
		return admin.Enrolled{}, &adminhttp.Error{Status: http.StatusServiceUnavailable, Code: "hub.busy", Message: "others enrol", Next: "try again"}
	}
	if h.cfg.Sign == nil {
		return admin.Enrolled{}, &adminhttp.Error{
			Status: http.StatusConflict, Code: "enrol.authority", Message: "this node does not hold the hub's authority",
			Next: "join at the address of a node that does: its configuration has authority:",
		}
	}
	request, err := readRequest(e.Request)
	if err != nil {
		return admin.Enrolled{}, err
	}
	if err := h.checkToken(e); err != nil {
		return admin.Enrolled{}, err
	}
	if err := h.placed(admin.Tell{Node: e.Node, Nodes: e.Nodes, Agents: e.Agents}); err != nil {
		return admin.Enrolled{}, err
	}
	id := identity.Node{Hub: h.self.Hub, Name: e.Node}
	if err := id.Validate(); err != nil {
		return admin.Enrolled{}, fmt.Errorf("%w: %w", adminhttp.ErrInvalid, err)
	}
	key := sha256.Sum256(request.RawSubjectPublicKeyInfo)
	if err := h.spendAtLeader(ctx, admin.Spend{ID: e.ID, Key: hex.EncodeToString(key[:])}); err != nil {
		return admin.Enrolled{}, err
	}
	var hosts []string
	for _, address := range []string{e.Nodes, e.Agents} {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return admin.Enrolled{}, fmt.Errorf("%w: %w", adminhttp.ErrInvalid, err)
		}
		hosts = append(hosts, host)
	}
	cert, err := h.cfg.Sign(request.PublicKey, id, hosts...)
	if err != nil {
		return admin.Enrolled{}, fmt.Errorf("sign the certificate: %w", err)
	}
	h.cfg.Log.Info("node enrolled", "node", e.Node, "token", e.ID, "address", e.Nodes)
	return admin.Enrolled{Certificate: string(cert), Nodes: append(h.others(), h.cfg.reached(h.self.Name).Nodes)}, nil
}

// checkToken compares the secret in constant time. Whether the token is still
// good is for the log to say.
func (h *Hub) checkToken(e admin.Enrol) error {
	var id command.TokenID
	secret, err := hex.DecodeString(e.Secret)
	if err != nil || fromHex(id[:], e.ID) != nil {
		return refusal(state.ReasonToken, "")
	}
	token, found := h.State().Roster().Token(id)
	got := sha256.Sum256(secret)
	if subtle.ConstantTimeCompare(got[:], token.Secret[:]) != 1 || !found || token.Node != e.Node {
		return refusal(state.ReasonToken, "")
	}
	return nil
}

func (h *Hub) spendAtLeader(ctx context.Context, s admin.Spend) error {
	leader := h.replica.Leader()
	switch {
	case h.replica.Leading():
		return h.spend(ctx, s)
	case leader == "" || leader == h.self.Name:
		return noLeader(h.self.Name)
	}
	return h.ask(leader, "").Spend(ctx, s)
}

// readRequest reads a certificate request and checks that its key signed it.
func readRequest(text string) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("%w: no certificate request", adminhttp.ErrInvalid)
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: certificate request: %w", adminhttp.ErrInvalid, err)
	}
	return request, nil
}
