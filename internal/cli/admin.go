package cli

import "context"

// adminVerbs are the verbs of admin.
func adminVerbs() verbs[command] {
	return verbsOf("admin", "[flags]", "",
		command{"certs", "make certificates with which processes know each other", adminCerts},
		command{"deadletters", "show what of the log could not be decoded, and append it again", adminDeadLetters},
		command{"repartition", "give the log another number of partitions, or say which users would move", adminRepartition},
		command{"schema", "make or migrate the tables of a store on Cassandra or ScyllaDB", adminSchema},
		command{"topics", "make the topics of a log on Kafka, or say what is wrong with them", adminTopics},
	)
}

func cmdAdmin(ctx context.Context, env *Env, args []string) int {
	c, code, ok := adminVerbs().pick(env, args)
	if !ok {
		return code
	}
	return c.run(ctx, env, args[1:])
}
