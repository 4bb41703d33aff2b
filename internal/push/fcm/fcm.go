// Package fcm pushes through Firebase Cloud Messaging, HTTP v1, to Android, web
// and other clients of Firebase.
package fcm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/fcm/v1"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"github.com/rookery-chat/rookery/internal/push"
)

// Provider is the name that devices register with.
const Provider = "fcm"

// Options are a Sender's settings.
type Options struct {
	Credentials []byte            // a service account's key, the JSON file of the console
	Project     string            // "" is the service account's
	Endpoint    string            // "" is Google's
	Transport   http.RoundTripper // nil is http.DefaultTransport
}

// timeout bounds the fetching of an access token, which serves many.
const timeout = 10 * time.Second

// Sender is a push.Sender.
type Sender struct {
	parent string // projects/NAME
	api    *fcm.Service
}

// New returns a Sender. Nothing is sent before the first Send.
func New(o Options) (*Sender, error) {
	account, err := google.JWTConfigFromJSON(o.Credentials, fcm.FirebaseMessagingScope)
	if err != nil {
		return nil, fmt.Errorf("fcm: the credentials are no service account's key: %w", err)
	}
	if o.Project == "" {
		if o.Project, err = projectOf(o.Credentials); err != nil {
			return nil, err
		}
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	s := &Sender{parent: "projects/" + o.Project}
	client := &http.Client{Transport: o.Transport, Timeout: timeout}
	fetch := func() (*oauth2.Token, error) { // a source keeps its token, even one that was refused
		return account.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, client)).Token()
	}
	options := []option.ClientOption{option.WithHTTPClient(&http.Client{Transport: authorized{o.Transport, &tokens{fetch: fetch}}})}
	if o.Endpoint != "" {
		options = append(options, option.WithEndpoint(o.Endpoint))
	}
	if s.api, err = fcm.NewService(context.Background(), options...); err != nil {
		return nil, fmt.Errorf("fcm: %w", err)
	}
	return s, nil
}

func projectOf(credentials []byte) (string, error) {
	var file struct {
		Project string `json:"project_id"`
	}
	if err := json.Unmarshal(credentials, &file); err != nil || file.Project == "" {
		return "", errors.New("fcm: the credentials name no project_id; set the project")
	}
	return file.Project, nil
}

// Check takes what could be a registration token: printable ASCII.
func (s *Sender) Check(token string) error {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return fmt.Errorf("byte %d is %#02x", i, token[i])
		}
	}
	return nil
}

// Send implements push.Sender.
func (s *Sender) Send(ctx context.Context, token string, n push.Notice) error {
	_, err := s.api.Projects.Messages.Send(s.parent, &fcm.SendMessageRequest{Message: message(token, n)}).Context(ctx).Do()
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return judge(e)
	}
	return fmt.Errorf("fcm: %w", push.WithoutURL(err))
}

// message is data without a text: the app makes one, in the user's language, of
// what it fetches. High priority lets it wake up for that.
func message(token string, n push.Notice) *fcm.Message {
	return &fcm.Message{
		Token:   token,
		Data:    map[string]string{"rookery": "waiting", "chat": n.Chat, "count": strconv.Itoa(n.Count)},
		Android: &fcm.AndroidConfig{Priority: "HIGH", CollapseKey: n.Chat},
		Webpush: &fcm.WebpushConfig{Headers: map[string]string{"Urgency": "high", "Topic": n.Chat}},
	}
}

// detail is what is read of an error's details: FcmError and BadRequest.
type detail struct {
	ErrorCode       string `json:"errorCode"`
	FieldViolations []struct {
		Field string `json:"field"`
	} `json:"fieldViolations"`
}

// judge follows Firebase's table of ErrorCode. The provider's text is left out,
// as it may quote the token.
func judge(e *googleapi.Error) error {
	code, field := details(e)
	err := fmt.Errorf("fcm: %d %s", e.Code, code)
	switch {
	case code == "UNREGISTERED", code == "SENDER_ID_MISMATCH", field == "message.token":
		return push.ErrTokenGone
	case e.Code == http.StatusTooManyRequests, e.Code >= 500:
		return &push.Later{After: push.RetryAfter(e.Header, time.Now()), Err: err}
	case e.Code == http.StatusUnauthorized, e.Code == http.StatusForbidden, e.Code == http.StatusNotFound:
		return err // of our credentials or project: an operator mends that
	}
	return push.Refusedf("%v", err)
}

func details(e *googleapi.Error) (code, field string) {
	for _, any := range e.Details {
		var d detail
		if b, err := json.Marshal(any); err != nil || json.Unmarshal(b, &d) != nil {
			continue
		}
		if d.ErrorCode != "" {
			code = d.ErrorCode
		}
		for _, v := range d.FieldViolations {
			field = v.Field
		}
	}
	return code, field
}
