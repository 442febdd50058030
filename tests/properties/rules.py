"""The transitioner and the validator once more, as dumbly as they can be said.

Plain dictionaries, one long procedure each, nothing shared with the code that is tested: it is
written after the text of the rules (docs/reference/redundancy.md), in their order, with their
numbers. ``plain`` makes such dictionaries of a task, so that both can be compared.
"""

from __future__ import annotations

from typing import Any

from accord.core.policy import Policy
from accord.core.task import Task

Wu = dict[str, Any]
NEVER = 1e18


def plain(task: Task) -> Wu:
    """What the rules know of a task."""
    policy = task.spec.redundancy
    return {
        "quorum": policy.min_quorum if task.quorum is None else task.quorum,
        "target": task.target_replicas,
        "max_error": policy.max_error_replicas,
        "max_total": policy.max_total_replicas,
        "max_success": policy.max_success_replicas,
        "max_lost": policy.max_lost_replicas,
        "delay_bound": policy.delay_bound,
        "canonical": task.canonical,
        "mask": task.error_mask,
        "need_validate": task.need_validate,
        "assimilate": str(task.assimilate_state),
        "files": str(task.file_delete_state),
        "tt": task.transition_time,
        "hr": task.hr_class,
        "results": [_plain_replica(r) for r in task.replicas],
    }


def _plain_replica(replica: Any) -> Wu:
    result = replica.result
    return {
        "number": replica.number,
        "state": str(replica.state),
        "outcome": str(replica.outcome) if replica.outcome else "",
        "validity": str(replica.validity),
        "files": str(replica.file_delete_state),
        "deadline": replica.report_deadline,
        "received": replica.received_time or 0,
        "held": replica.not_before,
        "started": replica.started,
        "where": replica.executor,
        "was_sent": replica.sent_time is not None,
        "priority": replica.priority,
        "text": result.execute.stdout.inline.decode() if result else "!",
    }


def transition(wu: Wu, now: float, policy: Policy) -> None:
    """T1-T16, in place."""
    results = wu["results"]
    gone = any(r["number"] == wu["canonical"] and r["files"] != "init" for r in results)  # T1, Q7
    fresh = False
    for r in results:
        if r["state"] == "in_progress" and r["deadline"] < now:  # T2
            r.update(state="over", outcome="no_reply", started=True)
        if r["outcome"] == "success" and r["validity"] == "init":  # T3
            if gone:
                r["validity"] = "too_late"
            else:
                fresh = True
    unsent = inprog = nsucc = nerr = silent = ntotal = nover = 0  # T4
    lost = set()
    for r in results:
        if r["outcome"] == "didnt_need" and r["was_sent"]:
            continue  # handed back: it was never tried
        ntotal += 1
        unsent += r["state"] == "unsent"
        inprog += r["state"] == "in_progress"
        nover += r["state"] == "over"
        nsucc += r["outcome"] == "success" and r["validity"] != "invalid"
        nerr += r["outcome"] in ("client_error", "validate_error")
        silent += r["outcome"] in ("no_reply", "detached", "aborted")
        if r["outcome"] in ("no_reply", "detached") and r["started"]:
            lost.add(r["where"])
    if fresh and nsucc >= wu["quorum"]:  # T5
        wu["need_validate"] = True
    need = max(0, wu["target"] - unsent - inprog - nsucc)
    room = wu["max_total"] - ntotal
    if wu["canonical"] is None:  # Q1
        if any(r["outcome"] == "couldnt_send" for r in results):  # T6
            wu["mask"] |= 1
        if nerr > wu["max_error"]:  # T7
            wu["mask"] |= 2
        if len(lost) > wu["max_lost"]:
            wu["mask"] |= 64
        if nerr > 0 and nsucc == inprog == silent == 0:  # T8
            wu["hr"] = ""
        if room < 0 or (room == 0 and need > 0):  # T9
            wu["mask"] |= 8
    if wu["mask"] or wu["canonical"] is not None:  # T10, Q6
        for r in results:
            if r["state"] == "unsent":
                r.update(state="over", outcome="didnt_need")
            unchecked = r["outcome"] == "success" and r["validity"] in ("init", "inconclusive")
            if wu["mask"] and unchecked:
                r["validity"] = "no_check"
        if wu["mask"] and wu["assimilate"] == "init":
            wu["assimilate"] = "ready"
    settled2 = all(  # T12
        r["state"] == "over" and not (r["outcome"] == "success" and r["validity"] == "init")
        for r in results
    )
    settled = settled2 and not any(
        r["outcome"] == "no_reply" and r["deadline"] > now for r in results
    )
    if settled2 and wu["assimilate"] == "init" and wu["canonical"] is not None:  # T13
        wu["assimilate"] = "ready"
    if wu["assimilate"] == "done":  # T14
        until = max([r["received"] for r in results], default=0) + policy.delete_delay
        if now >= until:
            if settled and wu["files"] == "init":
                wu["files"] = "ready"
            for r in results:
                kept = r["number"] == wu["canonical"] and not settled
                dead = r["outcome"] in ("client_error", "validate_error", "no_reply")  # Q5
                looked_at = r["outcome"] == "success" and r["validity"] != "init"
                if r["files"] == "init" and (dead or looked_at) and not kept:
                    r["files"] = "ready"
    for r in results:
        if r["state"] == "unsent" and r["held"] <= now:
            r["held"] = 0
    if not wu["mask"] and wu["canonical"] is None:  # T11
        _create(wu, min(need, room), nover, nerr, now, policy)
    tt = NEVER  # T15
    until = max([r["received"] for r in results], default=0) + policy.delete_delay
    if wu["assimilate"] == "done" and now < until:
        tt = until
    if not wu["mask"] and wu["canonical"] is None:
        tt = min(tt, now + max(10 * 86400, 1.5 * wu["delay_bound"]))
    for r in results:
        if r["state"] == "in_progress":
            tt = min(tt, r["deadline"])
        if r["state"] == "unsent" and r["held"]:
            tt = min(tt, r["held"])
    if tt < now:  # T16
        tt = now + min(max(2 * (now - tt), 60), 86400)
    wu["tt"] = tt


def _create(wu: Wu, need: int, nover: int, nerr: int, now: float, policy: Policy) -> None:
    results = wu["results"]
    if need <= 0:
        return
    first = max([r["number"] for r in results], default=-1) + 1
    faults = sum(
        r["outcome"] in ("client_error", "no_reply", "validate_error", "aborted", "detached")
        for r in results
    )
    pause = min(60.0, 2.0 ** (faults - 1)) if faults else 0
    bump = 0
    if nover and policy.priority_on_over:
        bump = policy.priority_on_over
    elif nover and not nerr:
        bump = policy.priority_on_over_except_error
    results[:] = [r for r in results if not (r["outcome"] == "didnt_need" and r["was_sent"])]
    for i in range(need):
        results.append(
            {
                "number": first + i,
                "state": "unsent",
                "outcome": "",
                "validity": "init",
                "files": "init",
                "deadline": None,
                "received": 0,
                "held": now + pause if pause else 0,
                "started": False,
                "where": None,
                "was_sent": False,
                "priority": bump,
                "text": "!",
            }
        )


def agree(one: str, other: str) -> bool:
    """Neighbouring digits agree: it is not transitive."""
    return abs(int(one) - int(other)) <= 1


def validate(wu: Wu, now: float) -> None:  # V1-V7, in place
    """A text of ``!`` cannot be read, one of ``~`` cannot be read for now."""
    if not wu["need_validate"]:
        return
    results = wu["results"]
    if wu["canonical"] is not None:
        wu["tt_before"] = wu["tt"]
        _validate_late(wu, now)
        del wu["tt_before"]
        return
    viable = [r for r in results if r["outcome"] == "success" and r["validity"] != "invalid"]
    if len(viable) < wu["quorum"]:  # V2
        wu["need_validate"] = False
        return
    good, later, bad = [], False, False
    for r in viable:  # V3
        if r["text"] == "!":
            r.update(outcome="validate_error", validity="invalid")
            bad = True
        elif r["text"] == "~":
            later = True
        else:
            good.append(r)
    wu["need_validate"] = False  # V7
    if len(good) >= wu["quorum"]:  # V4
        for i in good:
            if sum(i is j or agree(i["text"], j["text"]) for j in good) >= wu["quorum"] // 2 + 1:
                for j in good:
                    same = i is j or agree(i["text"], j["text"])
                    j["validity"] = "valid" if same else "invalid"
                wu.update(canonical=i["number"], assimilate="ready", tt=NEVER)  # V5
                for r in results:
                    if r["state"] == "unsent":
                        r.update(state="over", outcome="didnt_need")
                return
    for r in good:  # V6, Q3
        if r["validity"] == "init":
            r["validity"] = "inconclusive"
    n = sum(r["outcome"] == "success" and r["validity"] != "invalid" for r in viable)
    soon = bad
    if n > wu["max_success"]:
        wu["mask"] |= 4
        soon = True
    if n >= wu["target"]:
        wu["target"] = n + 1
        soon = True
    if soon:
        wu["tt"] = now
    elif later:
        wu["tt"] = min(wu["tt"], now + 6 * 3600)


def _validate_late(wu: Wu, now: float) -> None:
    """V1."""
    results = wu["results"]
    found = [r for r in results if r["number"] == wu["canonical"]]
    if not found:
        return
    canonical = found[0]
    wu["need_validate"] = False
    for r in results:
        if r["outcome"] != "success" or r["validity"] not in ("init", "inconclusive"):
            continue
        if canonical["files"] != "init":  # Q7
            r["validity"] = "too_late"
        elif r["text"] == "~" or (r["text"] != "!" and canonical["text"] == "~"):
            wu["tt"] = min(wu["tt_before"], now + 6 * 3600)
            return
        elif r["text"] == "!" or canonical["text"] == "!":
            r.update(outcome="validate_error", validity="invalid")
        else:
            same = r is canonical or agree(canonical["text"], r["text"])
            r["validity"] = "valid" if same else "invalid"
        wu["tt"] = now
