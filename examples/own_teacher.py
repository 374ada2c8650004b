"""A teacher of your own: any function behind the OpenAI schema. `uvicorn own_teacher:app --port 8123`"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


def answer(question: str, image: str) -> str:
    """Whatever can answer: a classifier, a rule, a person. The image is a data URL."""
    return f"Rust: {'present' if len(image) > 2000 else 'absent'}. Mildew: absent."


async def complete(request: Request) -> JSONResponse:
    parts = {part["type"]: part for part in (await request.json())["messages"][-1]["content"]}
    text = answer(parts["text"]["text"], parts["image_url"]["image_url"]["url"])
    return JSONResponse({"model": "mine-1", "choices": [{"message": {"content": text}}]})


app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
