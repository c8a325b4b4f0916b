"""OpenAI's client talks to trained models; what it is told is what the model says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi")
openai = pytest.importorskip("openai")

from regimen.finetune.results.trained import Trained as Loaded  # noqa: E402
from regimen.finetune.results.trained import load_base, load_trained  # noqa: E402
from regimen.listing import resolve  # noqa: E402
from regimen.web.app import make_app  # noqa: E402
from regimen.web.modelserver.stopping import StopTexts  # noqa: E402
from regimen.web.services.parts import Parts  # noqa: E402
from trained_home import Trained, listening, train  # noqa: E402

QUESTION = [{"role": "user", "content": "Sort 3 1 2 5 4."}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def client(home: Trained) -> Iterator[Any]:
    parts = Parts.at(home.folder)
    with listening(make_app(parts)) as url:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def loaded(home: Trained) -> Loaded:
    return load_trained(resolve(home.folder / "runs", home.lora))


def logprobs_of(model: Any, ids: list[int]) -> torch.Tensor:
    """Of every token after the first, by one forward pass; all of the vocabulary."""
    with torch.no_grad():
        made: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return made


def test_models_are_listed_with_their_bases(client: Any, home: Trained) -> None:
    listed = [model.id for model in client.models.list()]
    assert sorted(listed) == sorted([home.lora, f"{home.lora}:base", home.full, f"{home.full}:base"])
    assert client.models.retrieve(home.full).owned_by == "regimen"


def test_a_chat_is_answered_as_the_command_line_answers(client: Any, home: Trained, loaded: Loaded) -> None:
    from regimen.finetune.answers.generate import Sampling, answers

    ids = loaded.tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True).input_ids
    for temperature in (0.0, 1.5):
        sampling = Sampling(temperature, 7)
        known = {"max_new_tokens": 12, "stop_ids": loaded.stop_ids, "sampling": sampling}
        (wanted,) = answers(loaded.model, loaded.tokenizer, [ids], **known)
        made = client.chat.completions.create(
            model=home.lora, messages=QUESTION, temperature=temperature, seed=7, max_tokens=12
        )
        assert made.choices[0].message.content == wanted
        assert made.usage.prompt_tokens == len(ids)
        assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
        assert made.choices[0].finish_reason == ("length" if made.usage.completion_tokens == 12 else "stop")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_stream_is_the_whole_in_pieces(client: Any, home: Trained, temperature: float) -> None:
    asked: dict[str, Any] = {"model": home.full, "temperature": temperature, "seed": 5, "max_tokens": 12, "n": 2}
    whole = client.chat.completions.create(messages=QUESTION, logprobs=True, top_logprobs=2, **asked)
    chunks = list(
        client.chat.completions.create(
            messages=QUESTION,
            logprobs=True,
            top_logprobs=2,
            stream=True,
            stream_options={"include_usage": True},
            **asked,
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    for choice in whole.choices:
        own = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == choice.index]
        assert own[0].delta.role == "assistant"
        assert "".join(part.delta.content or "" for part in own) == choice.message.content
        assert own[-1].finish_reason == choice.finish_reason
        tokens = [token for part in own if part.logprobs for token in part.logprobs.content]
        assert tokens == choice.logprobs.content
        assert all(len(token.top_logprobs) == 2 for token in tokens)
    first, second = (choice.message.content for choice in whole.choices)
    assert (first == second) == (temperature == 0)


def test_completions_tell_what_one_forward_pass_tells(client: Any, home: Trained, loaded: Loaded) -> None:
    """Prompt and answer, as text and as token ids, of the tuned model and of its base."""
    text = "Sort 3 1 2.\n1 2é"
    ids = list(loaded.tokenizer(text).input_ids)
    for name, model in (
        (home.lora, loaded.model),
        (f"{home.lora}:base", load_base(resolve(home.folder / "runs", home.lora))),
    ):
        for prompt in (text, ids):
            made = client.completions.create(
                model=name, prompt=prompt, max_tokens=4, temperature=0, logprobs=3, echo=True
            )
            told = made.choices[0].logprobs
            assert told.token_logprobs[0] is None
            assert len(told.tokens) == len(ids) + 4
            every = list(ids)
            for logprob in told.token_logprobs[len(ids) :]:
                following = logprobs_of(model, [*every, 0])[-1]
                chosen = int(following.argmax())
                assert float(following[chosen]) == pytest.approx(logprob, abs=1e-5)
                every.append(chosen)
            expected = logprobs_of(model, ids)
            for place in range(1, len(ids)):
                assert told.token_logprobs[place] == pytest.approx(float(expected[place - 1, ids[place]]), abs=1e-5)
                best = max(told.top_logprobs[place].values())
                assert best == pytest.approx(float(expected[place - 1].max()), abs=1e-5)
            assert made.choices[0].text.startswith(text)
            assert made.usage.prompt_tokens == len(ids)


def test_a_prompt_is_looked_at_without_an_answer(client: Any, home: Trained) -> None:
    made = client.completions.create(
        model=home.full, prompt=["1 2 3", "4 5"], max_tokens=0, temperature=0, logprobs=1, echo=True
    )
    assert [choice.text for choice in made.choices] == ["1 2 3", "4 5"]
    assert made.usage.completion_tokens == 0
    for choice in made.choices:
        starts = choice.logprobs.text_offset
        assert starts == sorted(starts)
        for token, start in zip(choice.logprobs.tokens, starts, strict=True):
            assert choice.text[start:].startswith(token) or token == "<s>"


def test_prompts_and_answers_are_numbered_one_after_the_other(client: Any, home: Trained) -> None:
    asked: dict[str, Any] = {"model": home.full, "temperature": 1, "seed": 11, "max_tokens": 6}
    many = client.completions.create(prompt=["1 2", "3 4"], n=2, **asked)
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]
    alone = client.completions.create(prompt="3 4", n=2, **asked)
    assert [choice.text for choice in alone.choices] == [choice.text for choice in many.choices[2:]]
    pieces = ["", "", "", ""]
    for chunk in client.completions.create(prompt=["1 2", "3 4"], n=2, stream=True, **asked):
        pieces[chunk.choices[0].index] += chunk.choices[0].text
    assert pieces == [choice.text for choice in many.choices]


def test_an_answer_ends_before_a_stop_text(client: Any, home: Trained) -> None:
    asked: dict[str, Any] = {"model": home.full, "prompt": "Sort", "temperature": 1.2, "seed": 4, "max_tokens": 30}
    whole = client.completions.create(**asked).choices[0].text
    stop = whole[len(whole) // 2 :][:2]
    made = client.completions.create(stop=[stop, "never"], **asked).choices[0]
    assert made.text == whole[: whole.index(stop)]
    assert made.finish_reason == "stop"
    streamed = "".join(c.choices[0].text for c in client.completions.create(stop=stop, stream=True, **asked))
    assert streamed == made.text


def test_limits_and_penalties_change_what_is_chosen(client: Any, home: Trained) -> None:
    asked: dict[str, Any] = {"model": home.full, "prompt": "Sort", "max_tokens": 12}
    greedy = client.completions.create(temperature=0, **asked).choices[0].text
    for limit in ({"top_p": 1e-6}, {"extra_body": {"top_k": 1}}):
        assert client.completions.create(temperature=2, seed=1, **limit, **asked).choices[0].text == greedy
    assert client.completions.create(temperature=2, seed=1, **asked).choices[0].text != greedy
    biased = client.completions.create(temperature=0, logit_bias={"65": 100}, **asked).choices[0].text
    assert biased == "b" * 12 or len(set(biased)) == 1 != biased == greedy
    once = client.completions.create(temperature=0, presence_penalty=2, frequency_penalty=2, **asked).choices[0].text
    assert len(set(once)) > len(set(greedy))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompt": "x" * 5000}, "maximum context length"),
        ({"prompt": [1, 99999]}, "tokens 0 to"),
        ({"logit_bias": {"99999": 1}}, "99999"),
        ({"temperature": -1}, "temperature"),
        ({"best_of": 3}, "best_of"),
        ({"extra_body": {"min_p": 0.1}}, "min_p"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": [""]}, "stop"),
    ],
)
def test_what_is_wrong_is_said_in_openais_shape(client: Any, home: Trained, wrong: dict[str, Any], said: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=re.escape(said)) as caught:
            client.completions.create(**({"model": home.full, "prompt": "a", "stream": stream} | wrong))
        assert caught.value.body["type"] == "invalid_request_error"


def test_unknown_models_and_chats_that_cannot_be_are_refused(client: Any, home: Trained) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4", messages=QUESTION)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("../runs")
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b.png"}}]}]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=home.full, messages=picture)
    with pytest.raises(openai.BadRequestError, match="top_logprobs"):
        client.chat.completions.create(model=home.full, messages=QUESTION, top_logprobs=2)


@given(st.text("abc", max_size=40), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_a_text_ends_before_its_first_stop_text_however_it_is_cut(text: str, stops: list[str], data: Any) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    found = StopTexts(stops)
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    given_now = ""
    for piece in pieces:
        given_now += found.add(piece)
        assert text.startswith(given_now)
        assert not any(stop in given_now for stop in stops)
    given_now += found.rest()
    # A text that came whole in an earlier piece counts, although a longer one begins before it.
    if not any(stop in text for stop in stops):
        assert given_now == text
    else:
        assert found.found
        assert not any(stop in given_now for stop in stops)


SERVE = "import typer; from regimen.cli.servingmodel import serve; typer.run(serve)"


@pytest.mark.parametrize("exported", [False, pytest.param(True, marks=pytest.mark.long)])
def test_one_model_is_served_alone_with_a_token(home: Trained, tmp_path: Path, exported: bool) -> None:
    from regimen.finetune.results.merge import merge

    run = resolve(home.folder / "runs", home.lora)
    name = str(merge(run, tmp_path / "merged").folder) if exported else home.lora[:20]
    arguments = [name, "--port", "0", "--token", "--runs", str(home.folder / "runs")]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", SERVE, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        told = ""
        while "Ctrl-C" not in told:
            line = process.stdout.readline()
            assert line, told
            told += line
        url = re.search(r"http://\S+", told)
        key = re.search(r"api_key\s+(\S+)", told)
        assert url
        assert key
        known = openai.OpenAI(base_url=url[0], api_key=key[1], max_retries=0)
        names = [model.id for model in known.models.list()]
        assert names == (["merged"] if exported else [home.lora, f"{home.lora}:base"])
        made = known.completions.create(model=names[0], prompt="Sort", max_tokens=3, temperature=0)
        assert made.usage.completion_tokens == 3
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url[0], api_key="other", max_retries=0).models.list()
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.long
def test_an_evaluation_harness_asks_it(client: Any, home: Trained, tmp_path: Path) -> None:
    """lm-eval's local-completions, on a task in a file: its log likelihoods are the model's."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    folder = resolve(home.folder / "runs", home.full) / "artifacts" / "model"
    asked = LocalCompletionsAPI(
        base_url=f"{client.base_url}completions",
        model=home.full,
        tokenizer=str(folder),
        tokenizer_backend="huggingface",
    )
    assert lm_eval
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"q": f"Sort {a} 1.", "c": ["1 2", "2 1"], "a": 0}) + "\n" for a in range(4)))
    task = {
        "task": "tiny_sorting",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{c}}",
        "doc_to_target": "{{a}}",
        "metric_list": [{"metric": "acc"}],
    }
    found = lm_eval.simple_evaluate(model=asked, tasks=[task], bootstrap_iters=0)
    assert 0 <= found["results"]["tiny_sorting"]["acc,none"] <= 1
    loaded = load_trained(folder.parent.parent)
    for sample in found["samples"]["tiny_sorting"]:
        for (context, answer), ((said, _),) in zip(sample["arguments"], sample["resps"], strict=True):
            begin = len(loaded.tokenizer(context, add_special_tokens=False).input_ids)
            ids = list(loaded.tokenizer(context + answer, add_special_tokens=False).input_ids)
            told = logprobs_of(loaded.model, ids)
            direct = sum(float(told[place - 1, ids[place]]) for place in range(begin, len(ids)))
            assert float(said) == pytest.approx(direct, abs=1e-4)
