import { Link, useParams } from "react-router";

import { useKeepDay } from "../app/asof";
import { useTexts } from "../i18n";
import { formatInstant } from "../lib/day";
import { Button } from "../ui/button";
import { Empty, Loaded, Page } from "../ui/page";
import { useEvents } from "./data";

/** What was recorded, when and by whom, as it stands in the log. */
export function Events() {
  const { say, language } = useTexts();
  const id = useParams()["id"] ?? "";
  const keep = useKeepDay();
  const events = useEvents(id);
  const text = (value: unknown) => (typeof value === "string" ? value : "");
  return (
    <Page title={say("events")}>
      <p>
        <Link to={keep(`/people/${id}`)}>‹ {say("person")}</Link>
      </p>
      <p className="soft">{say("events.explained")}</p>
      <Loaded of={events}>
        {(data) => {
          const rows = data.pages.flatMap((page) => page.items) as Record<string, unknown>[];
          if (rows.length === 0) return <Empty>{say("events.none")}</Empty>;
          return (
            <>
              <ol className="events">
                {rows.map((event) => (
                  <li key={text(event["id"])}>
                    <strong>{text(event["type"]).split(".").at(-1)}</strong>{" "}
                    <span className="soft">
                      {formatInstant(text(event["time"]), language)} · {text(event["actor"])}
                    </span>
                    <details>
                      <summary>{say("events.whole")}</summary>
                      <pre tabIndex={0}>{JSON.stringify(event, null, 2)}</pre>
                    </details>
                  </li>
                ))}
              </ol>
              {events.hasNextPage && (
                <Button onPress={() => void events.fetchNextPage()} isPending={events.isFetchingNextPage}>
                  {say("more")}
                </Button>
              )}
            </>
          );
        }}
      </Loaded>
    </Page>
  );
}
