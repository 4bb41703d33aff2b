"""Prints what is sent in plaintext to the user whose token it has: TOKEN=… python3 receive.py http://127.0.0.1:8082"""
import base64, json, os, sys, urllib.request

after = ""
while True:
    url = f"{sys.argv[1].rstrip('/')}/v1/events?wait=25&after={after}"  # after: what was printed is handled
    ask = urllib.request.Request(url, headers={"Authorization": f"Bearer {os.environ['TOKEN']}"})
    answer = json.load(urllib.request.urlopen(ask))
    for event in answer["events"]:
        if event["type"] == "message":
            print(event["message"]["from"], base64.b64decode(event["message"]["content"]).decode(), sep=": ", flush=True)
    after = answer.get("next", after)
