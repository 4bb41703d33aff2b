package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// OpenEpoch opens the topic of one epoch.
func OpenEpoch(ctx context.Context, o Options, epoch uint16) (*Log, error) {
	l, err := openUpTo(ctx, o, epoch)
	if err == nil && l.Epoch() != epoch {
		found := l.topic.Name
		l.Close()
		return nil, fmt.Errorf("%w: %s; the newest before it is %s", ErrNoEpoch, topicName(l.o.Prefix, epoch), found)
	}
	return l, err
}

// ErrNoEpoch says that there is no topic of an epoch.
var ErrNoEpoch = errors.New("kafka log: there is no such topic")

// OpenAll opens the newest epoch, and those before it that it and each other
// began after while they were at work: the oldest first. Of the older ones
// those are left out whose topics are not there any more.
func OpenAll(ctx context.Context, o Options) ([]*Log, error) {
	newest, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	all := []*Log{newest}
	for all[0].Online() {
		before, err := OpenEpoch(ctx, o, all[0].Epoch()-1)
		if errors.Is(err, ErrNoEpoch) {
			break
		}
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, err
		}
		all = append([]*Log{before}, all...)
	}
	return all, nil
}

// Online reports whether the epoch began while the one before was at work.
func (l *Log) Online() bool { return l.topic.Online }

// followsMark ends the client id of a group's member that goes on in the next
// epoch by itself.
const followsMark = ".follows"

// Deaf names the processes that own partitions of this epoch and would not go on
// in the next one: of a version that knows no such epochs.
func (l *Log) Deaf(ctx context.Context) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var group kadm.DescribedGroup
	for {
		groups, err := l.adm.DescribeGroups(ctx, l.groupName())
		err = errors.Join(err, groups.Error())
		if err == nil || errors.Is(err, kerr.GroupIDNotFound) { // nobody has ever been in it
			group = groups[l.groupName()]
			break
		}
		select {
		case <-time.After(minBackoff): // brokers may just be making a coordinator for it
		case <-ctx.Done():
			return nil, fmt.Errorf("kafka log: brokers do not say who is in the group %s: %w", l.groupName(), err)
		}
	}
	for _, m := range group.Members {
		if !strings.HasSuffix(m.ClientID, followsMark) {
			names = append(names, fmt.Sprintf("the processor at %s (client %s, member %s)", strings.TrimPrefix(m.ClientHost, "/"), m.ClientID, m.MemberID))
		}
	}
	return names, nil
}

// Refresh makes End exact, as of a moment after the call.
func (l *Log) Refresh(ctx context.Context) error {
	return l.refreshEnds(ctx, func(int) bool { return true })
}

// Succeeded asks brokers whether the next epoch has begun while this one is at
// work. Nothing of the answer is remembered from before the call.
func (l *Log) Succeeded(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	name := topicName(l.o.Prefix, l.topic.Epoch+1)
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	res, err := req.RequestWith(ctx, l.producer) // the admin client would answer from its cache
	if err == nil && len(res.Topics) != 1 {
		err = fmt.Errorf("%d topics are told", len(res.Topics))
	}
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].ErrorCode)
	}
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("kafka log: brokers do not say whether there is a topic %s: %w", name, err)
	}
	return l.isOnline(ctx, name)
}

// isOnline tells an epoch that follows this one from one that was made for all
// processes to start with (law 9).
func (l *Log) isOnline(ctx context.Context, name string) (bool, error) {
	if l.ignored.Load() {
		return false, nil
	}
	topics, err := findTopics(ctx, l.adm, &l.o)
	if err != nil {
		return false, err
	}
	for _, t := range topics {
		if t.Name == name && t.Online {
			return true, nil
		}
		if t.Name == name && l.ignored.CompareAndSwap(false, true) {
			l.o.Logger.Warn("there is a topic of a later epoch, which processes use when they start again", "topic", name)
		}
	}
	return false, nil
}
