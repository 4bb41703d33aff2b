package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/push"
	"github.com/rookery-chat/rookery/internal/push/apns"
	"github.com/rookery-chat/rookery/internal/push/fcm"
	"github.com/rookery-chat/rookery/internal/push/webhook"
	"github.com/rookery-chat/rookery/internal/view"
)

// openProviders makes the senders of pushes that are configured. Without any, a
// push is a line in the log.
func (s *Server) openProviders() error {
	c := &s.cfg.Push
	s.providers = push.Senders{}
	var faults []error
	add := func(name string, configured bool, open func() (push.Sender, error)) {
		if !configured {
			return
		}
		sender, err := open()
		if err != nil {
			faults = append(faults, fmt.Errorf("push: %w", err))
			return
		}
		s.providers[name] = sender
	}
	add(fcm.Provider, c.FCMCredentials != "", func() (push.Sender, error) {
		key, err := os.ReadFile(c.FCMCredentials)
		if err != nil {
			return nil, err
		}
		return fcm.New(fcm.Options{Credentials: key, Project: c.FCMProject})
	})
	add(apns.Provider, c.APNsKey != "", func() (push.Sender, error) {
		key, err := os.ReadFile(c.APNsKey)
		if err != nil {
			return nil, err
		}
		return apns.New(apns.Options{Key: key, KeyID: c.APNsKeyID, TeamID: c.APNsTeamID, Topic: c.APNsTopic, Sandbox: c.APNsSandbox})
	})
	add(webhook.Provider, c.WebhookSecret != "", func() (push.Sender, error) { return s.openWebhook() })
	return errors.Join(faults...)
}

func (s *Server) openWebhook() (push.Sender, error) {
	c := &s.cfg.Push
	secret, err := os.ReadFile(c.WebhookSecret)
	if err != nil {
		return nil, err
	}
	o := webhook.Options{Secret: secret, Hosts: c.WebhookHosts}
	for _, network := range c.WebhookAllow {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("webhook_allow: %w", err)
		}
		o.Allow = append(o.Allow, prefix)
	}
	return webhook.New(o)
}

// startPush starts the queue of an owner of partitions.
func (s *Server) startPush() (err error) {
	c := &s.cfg.Push
	senders := s.providers
	if len(senders) == 0 {
		senders = push.Senders{push.LogProvider: push.NewLog(s.logger)}
	}
	key := s.log.Key()
	s.push, err = push.New(push.Options{
		Senders: senders, Online: s.online, Key: key[:], Logger: s.logger,
		Entries: c.Entries, Delay: c.Delay, Every: c.Every, Burst: c.Burst, Workers: c.Workers, Tries: c.Tries, MaxAge: c.MaxAge,
		Settle: s.cfg.Session.Idle + s.cfg.Session.Heartbeat/2,
	}, s.store)
	return err
}

// online reports whether a user has a session anywhere. Where that is not known
// it has none: a device that is there takes its message before it is pushed.
func (s *Server) online(ctx context.Context, user chat.User, _ chat.Device) bool {
	if s.cluster == nil {
		return len(s.sessions.Lookup(view.Bytes(user), make([]presence.Ref, 0, 4))) > 0
	}
	at, err := s.cluster.directory.Where(ctx, []chat.User{user})
	return err == nil && len(at[0]) > 0
}
