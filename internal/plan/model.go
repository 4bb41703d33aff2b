package plan

// definition is a line of the plan. The formula may read what stands above it.
type definition struct {
	group, name, unit, formula, what string
}

// host counts with headroom: what is left after zones_lost still carries what
// is needed, with spare_hosts less.
func withHeadroom(needed string) string {
	return "zones * ceil((" + needed + " + spare_hosts) / max(1, zones - zones_lost))"
}

// definitions returns the model, in order.
func definitions() []definition {
	return []definition{
		{"load", "online", UnitCount, "users * online_share", "sessions at once"},
		{"load", "messages_ps", UnitPerS, "messages_per_day / 86400", "messages a second, mean"},
		{"load", "peak_ps", UnitPerS, "messages_ps * peak", "messages a second, busiest"},

		{"gateways", "session_bytes", UnitBytes, "(1 - silent_share) * bytes_per_connection + silent_share * bytes_per_silent_connection + kernel_bytes_per_socket", "memory of a session, process and kernel"},
		{"gateways", "sessions_by_memory", UnitCount, "floor(gateway_memory * memory_use / session_bytes)", "sessions that a gateway's memory holds"},
		{"gateways", "sessions_per_gateway", UnitCount, "max(1, min(gateway_sessions, sessions_by_memory))", "sessions that a gateway is filled with"},
		{"gateways", "gateways_for_sessions", UnitCount, "ceil(online / sessions_per_gateway)", "by sessions"},
		{"gateways", "gateway_cpu", UnitCores, "peak_ps * gateway_us / 1000000 + online / heartbeat_seconds * heartbeat_us / 1000000", "cores that messages and heartbeats take"},
		{"gateways", "gateways_for_cpu", UnitCount, "ceil(gateway_cpu / (gateway_cores * cpu_use))", "by cores"},
		{"gateways", "gateway_network", UnitBytesPS, "peak_ps * (size + envelope_bytes + packet_bytes + small_packets / 2 * (envelope_bytes + packet_bytes)) + online / heartbeat_seconds * packet_bytes", "bytes that all clients send, and as many that they get"},
		{"gateways", "gateways_for_network", UnitCount, "ceil(2 * gateway_network / (nic_bytes * nic_use))", "by network: to clients, and to the log and from owners again"},
		{"gateways", "gateways_needed", UnitCount, "max(1, gateways_for_sessions, gateways_for_cpu, gateways_for_network)", "gateways that carry the load"},
		{"gateways", "gateways", UnitCount, withHeadroom("gateways_needed"), "gateways with headroom"},
		{"gateways", "gateway_network_host", UnitBytesPS, "2 * gateway_network / gateways", "of one gateway, in and as much out"},

		{"processors", "owner_cpu", UnitCores, "peak_ps * owner_us / 1000000", "cores that owners take"},
		{"processors", "processors_needed", UnitCount, "max(1, ceil(owner_cpu / (owner_cores * cpu_use)))", "processors that carry the load"},
		{"processors", "processors", UnitCount, withHeadroom("processors_needed"), "processors with headroom"},
		{"processors", "partitions_needed", UnitCount, "max(1, ceil(owner_cpu / partition_use))", "owners that are one goroutine each"},
		{"processors", "partitions", UnitCount, "processors * ceil(partitions_needed / processors)", "partitions, as many on each processor"},
		{"processors", "partition_ps", UnitPerS, "peak_ps / partitions", "messages a second of a partition"},

		{"brokers", "log_message_bytes", UnitBytes, "size + log_records * log_record_bytes", "bytes of the log for a message"},
		{"brokers", "log_in", UnitBytesPS, "peak_ps * log_message_bytes", "bytes appended, before copies"},
		{"brokers", "broker_cpu", UnitCores, "peak_ps * broker_us / 1000000 * (1 + (log_replication - 1) * follower_share)", "cores that brokers take"},
		{"brokers", "brokers_for_cpu", UnitCount, "ceil(broker_cpu / (broker_cores * cpu_use))", "by cores"},
		{"brokers", "brokers_for_writes", UnitCount, "ceil(log_in * log_replication / (broker_disk_write * disk_use))", "by what disks write"},
		{"brokers", "log_bytes", UnitBytes, "messages_per_day * log_days * log_message_bytes * log_replication", "what the log keeps, all copies"},
		{"brokers", "brokers_for_disk", UnitCount, "ceil(log_bytes / (broker_disk * disk_use))", "by disk"},
		{"brokers", "brokers_for_network", UnitCount, "ceil(log_in * log_replication / (nic_bytes * nic_use))", "by network: in with copies; out with copies and to owners, as much"},
		{"brokers", "brokers_needed", UnitCount, "max(log_replication, brokers_for_cpu, brokers_for_writes, brokers_for_disk, brokers_for_network)", "brokers that carry the load"},
		{"brokers", "brokers", UnitCount, withHeadroom("brokers_needed"), "brokers with headroom"},
		{"brokers", "broker_network_host", UnitBytesPS, "log_in * log_replication / brokers", "of one broker, in and as much out"},

		{"store", "store_raw", UnitBytes, "messages_per_day * retention_days * size", "content, raw"},
		{"store", "store_replicated", UnitBytes, "store_raw * replication", "content, replicated"},
		{"store", "store_rows", UnitBytes, "(messages_per_day * retention_days * (size + row_bytes) + messages_per_day * min(inbox_days, retention_days) * inbox_bytes) * replication", "rows and inboxes, replicated, before compression"},
		{"store", "store_compressed", UnitBytes, "(messages_per_day * retention_days * (size * content_ratio + row_bytes * columns_ratio) + messages_per_day * min(inbox_days, retention_days) * inbox_bytes * columns_ratio) * replication", "rows and inboxes, replicated and compressed"},
		{"store", "store_for_disk", UnitCount, "ceil(store_compressed / (store_disk * store_use))", "by disk"},
		{"store", "store_cpu", UnitCores, "peak_ps * store_us / 1000000 * replication", "cores that the store takes, all copies"},
		{"store", "store_for_cpu", UnitCount, "ceil(store_cpu / (store_cores * cpu_use))", "by cores"},
		{"store", "store_nodes", UnitCount, "max(" + withHeadroom("store_for_cpu") + ", zones * ceil(max(replication, store_for_disk) / zones))", "ScyllaDB nodes"},

		{"presence", "presence_memory", UnitBytes, "online * presence_bytes * presence_copies", "memory of who is where"},
		{"presence", "presence_ops", UnitPerS, "peak_ps * presence_lookups", "look-ups"},
		{"presence", "redis_needed", UnitCount, "max(1, ceil(presence_memory / (redis_memory * memory_use)), ceil(presence_ops / (redis_ops * cpu_use)))", "Redis hosts that carry the load"},
		{"presence", "redis_hosts", UnitCount, withHeadroom("redis_needed"), "Redis hosts with headroom, replicas among them"},

		{"balancers", "balancer_cpu", UnitCores, "peak_ps * balancer_us / 1000000", "cores that balancing takes"},
		{"balancers", "balancers_needed", UnitCount, "max(1, ceil(balancer_cpu / (balancer_cores * cpu_use)), ceil(online * balancer_session_bytes / (balancer_memory * memory_use)), ceil(2 * gateway_network / (nic_bytes * nic_use)))", "balancers that carry the load"},
		{"balancers", "balancers", UnitCount, withHeadroom("balancers_needed"), "balancers with headroom"},

		{"cost", "hosts", UnitCount, "gateways + processors + brokers + store_nodes + redis_hosts + balancers", "hosts of all kinds"},
		{"cost", "cores_bought", UnitCores, "gateways * gateway_cores + processors * owner_cores + brokers * broker_cores + store_nodes * store_cores + redis_hosts * redis_cores + balancers * balancer_cores", "cores bought"},
		{"cost", "memory_bought", UnitBytes, "gateways * gateway_memory + processors * owner_memory + brokers * broker_memory + store_nodes * store_memory + redis_hosts * redis_memory + balancers * balancer_memory", "memory bought"},
		{"cost", "disk_bought", UnitBytes, "brokers * broker_disk + store_nodes * store_disk", "disk bought"},
		{"cost", "outside", UnitBytesPS, "gateway_network", "to clients; from them as much"},
		{"cost", "cost_cores", UnitPrice, "cores_bought * price_core", "cores"},
		{"cost", "cost_memory", UnitPrice, "memory_bought / 1073741824 * price_gib", "memory"},
		{"cost", "cost_disk", UnitPrice, "disk_bought / 1000000000000 * price_tb", "disk"},
		{"cost", "cost_network", UnitPrice, "outside * 8 / 1000000000 * price_gbps", "network"},
		{"cost", "cost", UnitPrice, "cost_cores + cost_memory + cost_disk + cost_network", "all of it"},
	}
}
