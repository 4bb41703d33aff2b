package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Spec is how topics are made.
type Spec struct {
	Epoch      uint16        // of the topic of records
	Partitions int           // of that topic (default 16)
	Replicas   int           // of each partition (default 3)
	Retention  time.Duration // how long records are kept, whatever their size (default 7 days)

	// Online says that the epoch begins while the one before is at work: from the
	// moment its topic is there, that one ends (law 16).
	Online bool
}

// onlineBytes is retention.bytes of an online epoch's topic, which tells it from
// others: more than any disk, so it bounds nothing. Programs that know no such
// epochs refuse the topic, and so do not start beside those that do.
const onlineBytes = 1 << 62

func (s Spec) withDefaults() Spec {
	setDefault(&s.Partitions, 16)
	setDefault(&s.Replicas, 3)
	setDefault(&s.Retention, 7*24*time.Hour)
	return s
}

// minInSync is how many replicas have to have a record before it is
// acknowledged: one less than there are, so that one may be away.
func minInSync(replicas int) int { return max(1, replicas-1) }

func (s Spec) configs() map[string]*string {
	configs, bytes := map[string]*string{}, "-1"
	if s.Online {
		bytes = strconv.Itoa(onlineBytes)
	}
	for key, value := range map[string]string{
		"cleanup.policy":                 "delete",
		"retention.ms":                   strconv.FormatInt(s.Retention.Milliseconds(), 10),
		"retention.bytes":                bytes,
		"min.insync.replicas":            strconv.Itoa(minInSync(s.Replicas)),
		"unclean.leader.election.enable": "false",
		"max.message.bytes":              strconv.Itoa(MaxMessageBytes),
	} {
		configs[key] = &value
	}
	return configs
}

// Topic is a topic as it was found.
type Topic struct {
	Name       string
	Epoch      uint16
	ID         [16]byte
	Partitions int
	Replicas   int
	Online     bool  // it began while the epoch before was at work
	Faults     error // what is wrong with it, each in a line; nil if nothing is
}

func topicName(prefix string, epoch uint16) string { return fmt.Sprintf("%s.%d", prefix, epoch) }

func deadLetterTopic(prefix string) string { return prefix + ".deadletters" }

// CreateTopics makes the topics that are missing and returns their names, when all
// brokers show them. Those that exist stay as they are: CheckTopics tells whether
// they are right.
func CreateTopics(ctx context.Context, o Options, s Spec) (created []string, err error) {
	s = s.withDefaults()
	if s.Epoch > MaxEpoch || s.Partitions < 1 || s.Partitions > maxPartitions || s.Replicas < 1 || s.Retention < time.Hour {
		return nil, fmt.Errorf("kafka log: epoch %d (at most %d), %d partitions (1 to %d), %d replicas (at least 1), retention %v (at least 1h)",
			s.Epoch, MaxEpoch, s.Partitions, maxPartitions, s.Replicas, s.Retention)
	}
	err = withAdmin(ctx, &o, func(cl *kgo.Client) error {
		adm, names := kadm.NewClient(cl), []string{topicName(o.Prefix, s.Epoch), deadLetterTopic(o.Prefix)}
		for _, t := range []struct {
			name       string
			partitions int
		}{{names[0], s.Partitions}, {names[1], 1}} {
			made, err := adm.CreateTopic(ctx, int32(t.partitions), int16(s.Replicas), s.configs(), t.name)
			switch {
			case errors.Is(err, kerr.TopicAlreadyExists):
			case err != nil:
				return fmt.Errorf("kafka log: topic %s cannot be made: %w %s", t.name, err, made.ErrMessage)
			default:
				created = append(created, t.name)
			}
		}
		return awaitTopics(ctx, cl, created, names)
	})
	return created, err
}

// awaitTopics waits until topics that were made are led, and every broker shows
// all: who comes next may ask any.
func awaitTopics(ctx context.Context, cl *kgo.Client, made, all []string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		err := led(ctx, cl, made)
		if err == nil {
			err = shown(ctx, cl, all)
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(minBackoff):
		case <-ctx.Done():
			return fmt.Errorf("kafka log: topics %s are made, and not to be used yet: %w", strings.Join(all, ", "), err)
		}
	}
}

func led(ctx context.Context, cl *kgo.Client, topics []string) error {
	if len(topics) == 0 {
		return nil
	}
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics...)
	return errors.Join(err, ends.Error())
}

func shown(ctx context.Context, cl *kgo.Client, topics []string) error {
	brokers, err := kadm.NewClient(cl).ListBrokers(ctx)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	for _, b := range brokers {
		resp, err := cl.Broker(int(b.NodeID)).Request(ctx, req)
		if err != nil {
			return fmt.Errorf("broker %d: %w", b.NodeID, err)
		}
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
				return fmt.Errorf("broker %d does not show a topic: %w", b.NodeID, err)
			}
		}
	}
	return nil
}

// CheckTopics returns the topics of records, the least epoch first, and that of
// dead letters, with what is wrong with each.
func CheckTopics(ctx context.Context, o Options) (topics []Topic, err error) {
	err = withAdmin(ctx, &o, func(cl *kgo.Client) error {
		topics, err = findTopics(ctx, kadm.NewClient(cl), &o)
		return err
	})
	return topics, err
}

// withAdmin calls f with a client that has reached a broker.
func withAdmin(ctx context.Context, o *Options, f func(*kgo.Client) error) error {
	if err := o.Validate(); err != nil {
		return err
	}
	*o = o.withDefaults()
	cl, err := newClient(o, "admin")
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := reach(ctx, o, cl); err != nil {
		return err
	}
	return f(cl)
}

// findTopics lists the topics of the prefix, in the order of CheckTopics.
func findTopics(ctx context.Context, adm *kadm.Client, o *Options) (topics []Topic, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	all, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("kafka log: brokers %s do not list topics: %w", strings.Join(o.Brokers, ","), err)
	}
	var names []string
	for _, d := range all.Sorted() {
		if _, ok := epochOf(o.Prefix, d.Topic); ok || d.Topic == deadLetterTopic(o.Prefix) {
			names = append(names, d.Topic)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	described, err := adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("kafka log: the settings of %s cannot be read: %w", strings.Join(names, ", "), err)
	}
	for _, name := range names {
		r, err := described.On(name, nil)
		if err = errors.Join(err, r.Err); err != nil {
			return nil, fmt.Errorf("kafka log: the settings of topic %s cannot be read: %w", name, err)
		}
		topics = append(topics, inspect(o, all[name], r))
	}
	sortTopics(topics, o.Prefix)
	return topics, nil
}

func epochOf(prefix, topic string) (epoch uint16, ok bool) {
	digits, found := strings.CutPrefix(topic, prefix+".")
	n, err := strconv.ParseUint(digits, 10, 15)
	return uint16(n), found && err == nil && strconv.FormatUint(n, 10) == digits
}

// inspect looks for what law 9 does not allow: records that brokers have
// acknowledged must not go but by their age.
func inspect(o *Options, d kadm.TopicDetail, configs kadm.ResourceConfig) Topic {
	t := Topic{Name: d.Topic, ID: d.ID, Partitions: len(d.Partitions), Replicas: d.Partitions.NumReplicas()}
	epoch, records := epochOf(o.Prefix, d.Topic)
	t.Epoch = epoch
	settings := map[string]string{}
	for _, c := range configs.Configs {
		settings[c.Key] = c.MaybeValue()
	}
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("kafka log: topic %s "+format, append([]any{t.Name}, args...)...))
		}
	}
	setting := func(key, want, why string) {
		fault(settings[key] != want, "has %s=%s, it has to be %s: %s", key, settings[key], want, why)
	}
	setting("cleanup.policy", "delete", "compaction would take records out of the middle")
	t.Online = records && settings["retention.bytes"] == strconv.Itoa(onlineBytes)
	fault(!t.Online && settings["retention.bytes"] != "-1", "has retention.bytes=%s, it has to be -1: records would go before their time when there are many", settings["retention.bytes"])
	setting("unclean.leader.election.enable", "false", "acknowledged records could be lost")
	least, _ := strconv.Atoi(settings["min.insync.replicas"])
	fault(t.Replicas >= 3 && least < 2, "has min.insync.replicas=%d with %d replicas, it has to be at least 2: a record on one disk alone would be acknowledged", least, t.Replicas)
	fault(least > t.Replicas, "has min.insync.replicas=%d with %d replicas: nothing could be written", least, t.Replicas)
	largest, _ := strconv.Atoi(settings["max.message.bytes"])
	fault(largest < MaxMessageBytes, "has max.message.bytes=%d, it has to be at least %d", largest, MaxMessageBytes)
	if records {
		fault(o.Partitions != 0 && o.Partitions != t.Partitions, "has %d partitions, asked for are %d; the number cannot be changed", t.Partitions, o.Partitions)
	}
	t.Faults = errors.Join(faults...)
	return t
}

// choose returns the topic with the greatest epoch, and what is wrong with it
// or with that of dead letters.
func choose(o *Options, topics []Topic) (Topic, error) {
	var newest Topic
	var found, letters bool
	var faults []error
	for _, t := range topics {
		if t.Name == deadLetterTopic(o.Prefix) {
			letters = true
			faults = append(faults, t.Faults)
			continue
		}
		newest, found = t, true
	}
	const hint = "'rookery admin topics --create' makes it"
	if !found {
		faults = append(faults, fmt.Errorf("kafka log: there is no topic %s; %s", topicName(o.Prefix, 0), hint))
	}
	if !letters {
		faults = append(faults, fmt.Errorf("kafka log: there is no topic %s; %s", deadLetterTopic(o.Prefix), hint))
	}
	return newest, errors.Join(append(faults, newest.Faults)...)
}

// sortTopics puts topics of records first, in the order of their epochs.
func sortTopics(topics []Topic, prefix string) {
	slices.SortFunc(topics, func(a, b Topic) int {
		if letters := deadLetterTopic(prefix); a.Name == letters || b.Name == letters {
			return cmp.Compare(strings.Count(a.Name, letters), strings.Count(b.Name, letters))
		}
		return cmp.Compare(a.Epoch, b.Epoch)
	})
}
