"""Asks a student with transformers alone: `python examples/serve_student.py CHECKPOINT IMAGE [QUESTION]`"""

import sys

from PIL import Image

QUESTION = "What does this chest radiograph show?"


def ask(checkpoint: str, image: str, question: str = QUESTION) -> str:
    """The student's greedy answer; a student is an ordinary checkpoint."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(checkpoint)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint).eval()
    picture = {"type": "image", "image": Image.open(image).convert("RGB")}
    turn = {"role": "user", "content": [picture, {"type": "text", "text": question}]}
    inputs = processor.apply_chat_template(
        [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    output = model.generate(**inputs, max_new_tokens=160, do_sample=False)
    return str(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


if __name__ == "__main__":
    sys.stdout.write(ask(*sys.argv[1:]) + "\n")
